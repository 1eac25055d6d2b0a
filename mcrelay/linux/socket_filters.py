"""Classic BPF programs (linux/filter.h) that select the packets of a socket."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence

from mcrelay.linux.constants import (
    ETH_P_IP,
    NUD_FAILED,
    PACKET_MULTICAST,
    SO_ATTACH_BPF,
    SO_ATTACH_FILTER,
    SO_LOCK_FILTER,
)
from mcrelay.model.addresses import FIRST_GROUP, LAST_GROUP
from mcrelay.packet.frame import MAX_NESTED_TAGS, PACKET_OUTGOING, VLAN_TAG, VLAN_TYPES

FilterInstruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS of linux/bpf_common.h
MAX_OUTGOING = 64  # groups that a program compares with those of outgoing packets

_LD_WORD, _LD_HALF, _LD_OCTET, _LDX = 0x20, 0x28, 0x30, 0x01
_LD_WORD_BEHIND, _LD_OCTET_BEHIND = 0x40, 0x50  # the offset is that of the operand and the register X
_JA, _JEQ, _JGT, _JGE, _RET = 0x05, 0x15, 0x25, 0x35, 0x06
_ETHERTYPE, _PACKET_TYPE = 0xFFFFF000, 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PROTOCOL, + SKF_AD_PKTTYPE
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from the IP header on
_WHOLE = 0xFFFFFFFF

NOTHING: list[FilterInstruction] = [(_RET, 0, 0, 0)]
EVERYTHING: list[FilterInstruction] = [(_RET, 0, 0, _WHOLE)]
UDP_HEADERS: list[FilterInstruction] = [(_RET, 0, 0, 8)]  # of every packet of a UDP socket, without payload


def _find_ip_header() -> Iterator[FilterInstruction]:
    """Yield instructions that load the octets of the VLAN tags before the IP header into X.

    The kernel has removed the outermost tag. Frames without IPv4 are refused.
    """
    yield _LDX, 0, 0, 0
    yield _LD_WORD, 0, 0, _ETHERTYPE
    block = len(VLAN_TYPES) + 4
    for level in range(MAX_NESTED_TAGS):
        yield _JEQ, (MAX_NESTED_TAGS - level) * block - 1, 0, ETH_P_IP
        for position, ethertype in enumerate(VLAN_TYPES, start=1):
            yield _JEQ, len(VLAN_TYPES) - position + 1, 0, ethertype
        yield _RET, 0, 0, 0
        yield _LD_HALF, 0, 0, _NETWORK + level * VLAN_TAG + 2
        yield _LDX, 0, 0, (level + 1) * VLAN_TAG
    yield _JEQ, 1, 0, ETH_P_IP
    yield _RET, 0, 0, 0


_UDP: list[FilterInstruction] = [
    *_find_ip_header(),
    (_LD_OCTET_BEHIND, 0, 0, _NETWORK + 9),
    (_JEQ, 1, 0, socket.IPPROTO_UDP),
    (_RET, 0, 0, 0),
    (_LD_WORD, 0, 0, _PACKET_TYPE),
]
_ARRIVED: list[FilterInstruction] = [
    (_JGT, 0, 1, PACKET_MULTICAST),  # greater values are packets to other hosts, and outgoing packets
    (_RET, 0, 0, 0),
]
_TO_ANY_GROUP: list[FilterInstruction] = [
    (_JGE, 0, 2, FIRST_GROUP),
    (_JGE, 1, 0, LAST_GROUP + 1),
    (_RET, 0, 0, _WHOLE),
]
_LOAD_DESTINATION: FilterInstruction = (_LD_WORD_BEHIND, 0, 0, _NETWORK + 16)


def any_udp(outgoing: Iterable[int] = ()) -> list[FilterInstruction]:
    """Return a program that accepts all arriving IPv4 UDP packets, and outgoing ones as `udp_to` does."""
    return [*_UDP, *_sent_to(sorted(outgoing)), *_ARRIVED, (_RET, 0, 0, _WHOLE)]


def udp_to(unicast: Iterable[int], outgoing: Iterable[int] = ()) -> list[FilterInstruction]:
    """Return a program that accepts IPv4 UDP packets to any group and to these addresses (numbers).

    Of the packets that this host sends, it accepts those to the groups `outgoing`, or to any group if they
    are more than MAX_OUTGOING. If the addresses are too many, it accepts arriving packets to all addresses.
    """
    addresses, outgoing = sorted(unicast), sorted(outgoing)
    program = [
        *_UDP,
        *_sent_to(outgoing),
        *_ARRIVED,
        _LOAD_DESTINATION,
        *_TO_ANY_GROUP,
        *_to_each(addresses),
        (_RET, 0, 0, 0),
    ]
    return program if len(program) <= MAX_INSTRUCTIONS else any_udp(outgoing)


def _sent_to(groups: Sequence[int]) -> list[FilterInstruction]:
    """Return the instructions that decide on packets that this host sends; nothing if none is accepted."""
    if not groups:
        return []
    accepted = _TO_ANY_GROUP if len(groups) > MAX_OUTGOING else _to_each(groups)
    decision = [_LOAD_DESTINATION, *accepted, (_RET, 0, 0, 0)]
    return [(_JEQ, 1, 0, PACKET_OUTGOING), (_JA, 0, 0, len(decision)), *decision]


def _to_each(addresses: Iterable[int]) -> list[FilterInstruction]:
    return [step for address in addresses for step in ((_JEQ, 0, 1, address), (_RET, 0, 0, _WHOLE))]


def neighbour_changes(followed: Iterable[int], unsettled: Iterable[int]) -> list[FilterInstruction]:
    """Return a program for a netlink socket that receives the changes of IPv4 neighbours.

    It accepts the failures of the `followed` addresses (numbers), and all changes of `unsettled` ones. The
    other changes are frequent in a busy network.
    """
    # A field of ndmsg has the byte order of this machine, and a program loads big-endian numbers.
    family, state = 16, 24
    changes = _address_in(unsettled)
    return [
        (_LD_OCTET, 0, 0, family),
        (_JEQ, 1, 0, socket.AF_INET),
        (_RET, 0, 0, 0),
        (_LD_HALF, 0, 0, state),
        (_JEQ, 0, 1, socket.htons(NUD_FAILED)),
        (_JA, 0, 0, len(changes)),
        *changes,
        *_address_in(followed),
    ]


def _address_in(addresses: Iterable[int]) -> list[FilterInstruction]:
    """Return the part of a program that accepts a neighbour with one of these addresses, and no other."""
    first_attribute = 32  # NDA_DST, behind nlmsghdr, ndmsg and the header of the attribute
    return [
        (_LD_WORD, 0, 0, first_attribute),
        *(step for address in sorted(addresses) for step in ((_JEQ, 0, 1, address), (_RET, 0, 0, _WHOLE))),
        (_RET, 0, 0, 0),
    ]


def attach_program(sock: socket.socket, program: int) -> None:
    """Let the kernel run an eBPF program (its descriptor) for every packet of the socket, for ever.

    No other program can be attached then. Raises OSError.
    """
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, program)
    sock.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)


def attach(sock: socket.socket, program: list[FilterInstruction]) -> None:
    """Let the kernel run `program` for every packet of the socket. Needs no capability; raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code)
    descriptor = struct.pack("@HP", len(program), ctypes.addressof(memory))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, descriptor)
