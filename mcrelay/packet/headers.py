"""A batch of ring frames -> columns of header fields, and what is wrong with each packet.

One batch is read column by column: an array operation compares the same field of all packets, and no
Python runs for a single one. Nearly all packets are plain, and a few operations on words of 64 bits tell so;
the others are read once more, field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.frame import (
    CAPTURED,
    GSO_TYPE,
    LENGTH,
    NETWORK_OFFSET,
    OFFSETS,
    STATUS,
    TP_STATUS_VLAN_VALID,
    VNET_HEADER,
)

Column = NDArray[Any]
Words = NDArray[np.uint64]

IP_HEADER = 20  # octets without options (RFC 791)
UDP_HEADER = 8  # RFC 768
UDP = 17

# A packet without options, in words of 64 bits with the first octet lowest:
#   0  version and length, TOS, total length, identification, flags and fragment offset
#   1  TTL, protocol, checksum, source
#   2  destination, source port, destination port
_FIRST_WORD = NETWORK_OFFSET // 8
_SHAPE_MASK, _SHAPE = np.uint64(0xFF3F_0000_0000_00FF), np.uint64(0x45)  # IPv4, no options, no fragment
_PROTOCOL_MASK, _PROTOCOL = np.uint64(0xFF00), np.uint64(UDP << 8)
_LOW_HALF, _HALF, _PORT_PLACE = np.uint64(0xFFFF_FFFF), np.uint64(32), np.uint64(48)
_SOURCE_PORT = np.uint64(0x0000_FFFF_0000_0000)
_FLOW = ~_SOURCE_PORT
_OCTET, _TOS_PLACE = np.uint64(0xFF), np.uint64(8)
_ONES = np.uint64(0xFFFF)
_TOTAL_LENGTH = NETWORK_OFFSET // 2 + 1  # in halves of 16 bits from the start of the frame
_UDP_LENGTH = (NETWORK_OFFSET + IP_HEADER) // 2 + 2
_PLAIN_PAYLOAD = np.uint64(NETWORK_OFFSET + IP_HEADER + UDP_HEADER)
_ALL_HEADERS = (NETWORK_OFFSET + 60 + UDP_HEADER) // 4  # words of 32 bits, with all options there can be
_IP = NETWORK_OFFSET // 4  # the first word of the IP header, in words of 32 bits
_IP_WORDS, _UDP_WORDS = 5, 2


class Fault(IntEnum):
    """What keeps a packet from being looked up at all."""

    NONE = 0
    TAGGED = 1
    MALFORMED = 2
    OVERSIZE = 3
    FRAGMENT = 4


def flow_key(destination: int, port: int) -> int:
    """Return a destination and UDP port as `Headers.flow` has them."""
    return int.from_bytes(destination.to_bytes(4, "big") + bytes(2) + port.to_bytes(2, "big"), "little")


def origin_key(source: int, port: int) -> int:
    """Return a source and UDP port as `Headers.origin` has them."""
    return int.from_bytes(source.to_bytes(4, "big") + port.to_bytes(2, "big"), "little")


@dataclass(frozen=True, slots=True)
class Headers:
    """The header fields of n packets, columns of shape (n,); with a fault, only the addresses hold."""

    fault: NDArray[np.uint8] | None
    """A `Fault` each; None where no packet has one."""
    flow: Words
    """Destination and port, in the order of their octets: as `flow_key` makes them."""
    origin: Words
    """Source and port, as `origin_key` makes them."""
    ttl: Words
    tos: Words
    """The whole octet: DSCP and ECN."""
    payload: Words | np.uint64
    """Where the UDP payload begins, in octets from the start of the frame; a number where all begin alike."""
    length: NDArray[np.int64]
    """Octets of UDP payload."""

    @property
    def destination(self) -> NDArray[np.uint32]:
        """The destination addresses, as numbers."""
        return _numbers(self.flow)

    @property
    def source(self) -> NDArray[np.uint32]:
        """The source addresses, as numbers."""
        return _numbers(self.origin)


def _numbers(words: Words) -> NDArray[np.uint32]:
    """Return the addresses in the lower halves of words, as numbers."""
    return words.astype(np.uint32).byteswap()


def headers(frames: NDArray[np.uint32]) -> Headers:
    """Read n frames, shape (n, words of a frame), dtype uint32 in the host's order, n at least 1.

    Never raises, whatever the octets are. A fault is found in the order tag, header, super-packet or
    truncation, fragment, UDP lengths.
    """
    words, halves = frames.view("<u8"), frames.view(">u2")
    shape, path, ends = (words[:, _FIRST_WORD + place].astype(np.uint64) for place in range(3))
    total = halves[:, _TOTAL_LENGTH].astype(np.int64)
    length = halves[:, _UDP_LENGTH].astype(np.int64) - UDP_HEADER
    oddity = (shape & _SHAPE_MASK) ^ _SHAPE | (path & _PROTOCOL_MASK) ^ _PROTOCOL
    oddity |= _remainder(shape, path, ends & _LOW_HALF)
    oddity |= _kernels_remarks(frames)
    # What is left over, of the frame behind the packet, and of the packet behind the datagram.
    slack = np.minimum(_present(frames) - total, total - length - (IP_HEADER + UDP_HEADER))
    is_plain = (oddity == 0) & (np.minimum(slack, length) >= 0)
    plain = Headers(
        fault=None,
        flow=ends & _FLOW,
        origin=path >> _HALF | ends & _SOURCE_PORT,
        ttl=path & _OCTET,
        tos=shape >> _TOS_PLACE & _OCTET,
        payload=_PLAIN_PAYLOAD,
        length=length,
    )
    return plain if is_plain.all() else _with_others(plain, frames, np.flatnonzero(~is_plain))


def _remainder(shape: Words, path: Words, destination: Words) -> Words:
    """Return what the ones' complement sum of a header leaves: nothing where its checksum is right.

    That is so whatever the size of the words and the order of their octets (RFC 1071).
    """
    total = shape + path
    total += total < path
    total += destination
    total += total < destination
    total %= _ONES
    return total


def _kernels_remarks(frames: NDArray[np.uint32]) -> Column:
    """Return, for each frame, 0 where it is all of one untagged packet."""
    remarks: Column = frames[:, CAPTURED] ^ frames[:, LENGTH]
    remarks |= frames[:, STATUS] & TP_STATUS_VLAN_VALID
    remarks |= _gso_types(frames)
    return remarks


def _with_others(plain: Headers, frames: NDArray[np.uint32], others: NDArray[np.int64]) -> Headers:
    """Return the columns with what a closer look at the packets that are not plain has found."""
    found = _read_closely(np.ascontiguousarray(frames[:, :_ALL_HEADERS][others]))
    fault = np.zeros(len(frames), np.uint8)
    payload = np.full(len(frames), _PLAIN_PAYLOAD)
    merged = Headers(fault, plain.flow, plain.origin, plain.ttl, plain.tos, payload, plain.length)
    for name in Headers.__slots__:
        getattr(merged, name)[others] = getattr(found, name)
    return merged


def _read_closely(frames: NDArray[np.uint32]) -> Headers:
    """Read packets of which nothing is known, shape (n, _ALL_HEADERS)."""
    network = frames.view(">u4")
    words: list[Column] = [network[:, _IP + word].astype(np.uint32) for word in range(_IP_WORDS + _UDP_WORDS)]
    first, fragment, time, source, destination, ports, lengths = words
    header = (first >> 22) & 0x3C
    sums = _summed(words[:_IP_WORDS])
    if not (header == IP_HEADER).all():
        sums = sums + _sums_of_options(network, header)
        ports, lengths = _udp_behind_options(network, header)
    return Headers(
        fault=_faults(frames, first, fragment, time, lengths >> 16, sums),
        flow=_key(destination, ports & 0xFFFF, _PORT_PLACE),
        origin=_key(source, ports >> 16, _HALF),
        ttl=(time >> 24).astype(np.uint64),
        tos=((first >> 16) & 0xFF).astype(np.uint64),
        payload=(header + (NETWORK_OFFSET + UDP_HEADER)).astype(np.uint64),
        length=(lengths >> 16).astype(np.int64) - UDP_HEADER,
    )


def _faults(
    frames: NDArray[np.uint32],
    first: Column,
    fragment: Column,
    time: Column,
    udp_length: Column,
    sums: Column,
) -> NDArray[np.uint8]:
    header, total = (first >> 22) & 0x3C, first & 0xFFFF
    captured, present = frames[:, CAPTURED].astype(np.int64) - link_octets(frames), _present(frames)
    is_malformed = (first >> 28 != 4) | (header < IP_HEADER) | (captured < header) | (total < header)
    # The ones' complement sum over a sound header is zero (RFC 1071), and so is this remainder.
    is_malformed |= (total > present) | ((time >> 16) & 0xFF != UDP) | (sums % 0xFFFF != 0)
    fault = np.zeros(len(frames), np.uint8)
    # The later assignment wins, so the first fault in order stands last.
    fault[(udp_length < UDP_HEADER) | (udp_length > total - header)] = Fault.MALFORMED
    fault[(fragment & 0x3FFF) != 0] = Fault.FRAGMENT
    fault[(captured < present) | (_gso_types(frames) != 0)] = Fault.OVERSIZE
    fault[is_malformed] = Fault.MALFORMED
    fault[(frames[:, STATUS] & TP_STATUS_VLAN_VALID) != 0] = Fault.TAGGED
    return fault


def _key(address: Column, port: Column, place: np.uint64) -> Words:
    """Return numbers in the order of their octets on the wire, the port at that place."""
    ports = port.astype(np.uint16).byteswap().astype(np.uint64)
    return address.byteswap().astype(np.uint64) | ports << place


def _present(frames: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return how many octets each packet had from its IP header on."""
    return frames[:, LENGTH].astype(np.int64) - link_octets(frames)


def link_octets(frames: NDArray[np.uint32]) -> int:
    """Return the length of the link header, which is the same for all packets of a device."""
    offsets = int(frames[0, OFFSETS])
    return (offsets >> 16) - (offsets & 0xFFFF)


def _gso_types(frames: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return what is not 0 for a frame of several datagrams: a sender on this host, or GRO, makes them."""
    return frames.view(np.uint8)[:, NETWORK_OFFSET - link_octets(frames) - VNET_HEADER + GSO_TYPE]


def _summed(words: Sequence[Column]) -> Column:
    """Return the sum of these words of each header, in halves of 16 bits."""
    total: Column = np.zeros(len(words[0]), np.uint32)
    for word in words:
        total += word >> 16
        total += word & 0xFFFF
    return total


def _sums_of_options(network: Column, header: Column) -> Column:
    """Return the sum of the option words that each IP header has, in halves of 16 bits."""
    options = [
        np.where(header > 4 * index, network[:, _IP + index].astype(np.uint32), 0)
        for index in range(_IP_WORDS, int(header.max()) // 4)
    ]
    return _summed(options) if options else np.zeros(len(network), np.uint32)


def _udp_behind_options(network: Column, header: Column) -> tuple[Column, Column]:
    rows = np.arange(len(network))
    first = _IP + (header >> 2).astype(np.int64)
    return network[rows, first].astype(np.uint32), network[rows, first + 1].astype(np.uint32)
