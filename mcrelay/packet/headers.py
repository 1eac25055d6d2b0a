"""The array packet reader, which turns ring frames into columns of header fields and a column of faults.

One array operation reads the same field of all packets, so no Python code runs per packet. Nearly all packets
are plain (packet/ipv4.py), and a few operations on words of 64 bits read them. All other packets are read
again, field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.frame import (
    CAPTURED,
    CHECKSUM_VOUCHED,
    IPV4_WORD,
    LENGTH,
    LINK_PROTOCOL,
    MAX_NESTED_TAGS,
    NETWORK_OFFSET,
    PACKET_OUTGOING,
    PACKET_TYPE,
    STATUS,
    VLAN,
    VLAN_NUMBER,
)
from mcrelay.packet.frame_columns import gso_types, link_octets, present_octets
from mcrelay.packet.ipv4 import (
    CHECKSUM_MODULUS,
    DESTINATION_SHIFT,
    FRAGMENT_BITS,
    IP_HEADER,
    MAX_IP_HEADER,
    PROTOCOL,
    PROTOCOL_MASK,
    SHAPE,
    SHAPE_MASK,
    TOS_SHIFT,
    TTL_SHIFT,
    UDP,
    UDP_HEADER,
)
from mcrelay.packet.keys import (
    OUTGOING,
    EndpointKeys,
    addresses,
    destination_keys,
    endpoint_keys,
    source_keys,
)
from mcrelay.packet.udp_checksum import has_wrong_checksum
from mcrelay.packet.vlan import strip_tags

Column = NDArray[Any]
Words = NDArray[np.uint64]

_FIRST_WORD = NETWORK_OFFSET // 8  # of a plain packet, in words of 64 bits from the start of the frame
_SHAPE_MASK, _SHAPE = np.uint64(SHAPE_MASK), np.uint64(SHAPE)
_PROTOCOL_MASK, _PROTOCOL = np.uint64(PROTOCOL_MASK), np.uint64(PROTOCOL)
_TTL_SHIFT, _TOS_SHIFT, _OCTET = np.uint64(TTL_SHIFT), np.uint64(TOS_SHIFT), np.uint64(0xFF)
_DESTINATION_SHIFT, _CHECKSUM_MODULUS = np.uint64(DESTINATION_SHIFT), np.uint64(CHECKSUM_MODULUS)
_TOTAL_LENGTH = NETWORK_OFFSET // 2 + 1  # in halves of 16 bits from the start of the frame
_UDP_LENGTH = (NETWORK_OFFSET + IP_HEADER) // 2 + 2
_NETWORK, _PLAIN_PAYLOAD = np.uint64(NETWORK_OFFSET), np.uint64(NETWORK_OFFSET + IP_HEADER + UDP_HEADER)
# The words of 32 bits of a frame that may have headers; each nested VLAN tag has one word.
_MAX_HEADER_WORDS = (NETWORK_OFFSET + MAX_IP_HEADER + UDP_HEADER) // 4 + MAX_NESTED_TAGS
_IP = NETWORK_OFFSET // 4  # the first word of the IP header, in words of 32 bits
_IP_WORDS, _UDP_WORDS = 5, 2


class Fault(IntEnum):
    """The reason why a packet cannot be looked up. A packet that is TAGGED belongs to a VLAN."""

    NONE = 0
    TAGGED = 1
    MALFORMED = 2
    OVERSIZE = 3
    FRAGMENT = 4


@dataclass(frozen=True, slots=True)
class Headers:
    """The header fields of n packets, columns of shape (n,). With a fault, only the addresses are valid."""

    fault: NDArray[np.uint8] | None
    """The `Fault` of each packet; None if no packet has a fault."""
    destination: EndpointKeys
    source: EndpointKeys
    ttl: Words
    tos: Words
    """The whole octet: DSCP and ECN."""
    payload: Words | np.uint64
    """Offset of the UDP payload in the frame, in octets; one number if it is the same for all packets."""
    length: NDArray[np.int64]
    """Octets of UDP payload."""
    network: Words | np.uint64 = _NETWORK
    """Offset of the IP header in the frame, in octets; one number if it is the same for all packets."""
    vlan: NDArray[np.uint16] | None = None
    """The number of the VLAN that the frame is tagged with, 0 without one; None if no packet has one."""

    @property
    def destination_address(self) -> NDArray[np.uint32]:
        """The destination addresses, as numbers."""
        return addresses(self.destination)

    def network_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the offsets of the IP headers of some packets."""
        return np.broadcast_to(self.network, len(self.length))[rows].astype(np.int64)

    @property
    def source_address(self) -> NDArray[np.uint32]:
        """The source addresses, as numbers."""
        return addresses(self.source)


def read_headers(frames: NDArray[np.uint32]) -> Headers:
    """Return the header fields of n frames, n at least 1; `frames` has shape (n, words of a frame).

    Raises no exception, whatever the octets are. A packet with several faults has the first of: VLAN
    tag, bad IP header, super-packet or truncation, fragment, bad UDP length, bad UDP checksum.
    """
    words, halves = frames.view(">u8"), frames.view(">u2")
    word_0, word_1, word_2 = (words[:, _FIRST_WORD + index].astype(np.uint64) for index in range(3))
    total = halves[:, _TOTAL_LENGTH].astype(np.int64)
    length = halves[:, _UDP_LENGTH].astype(np.int64) - UDP_HEADER
    oddity = (word_0 & _SHAPE_MASK) ^ _SHAPE | (word_1 & _PROTOCOL_MASK) ^ _PROTOCOL
    oddity |= _checksum_remainder(word_0, word_1, word_2 >> _DESTINATION_SHIFT)
    oddity |= _frame_oddity(frames)
    # Octets that follow the IP packet in the frame, and octets that follow the UDP datagram in the IP packet.
    slack = np.minimum(present_octets(frames) - total, total - length - (IP_HEADER + UDP_HEADER))
    is_plain = (oddity == 0) & (np.minimum(slack, length) >= 0)
    plain = Headers(
        fault=None,
        destination=destination_keys(word_2),
        source=source_keys(word_1, word_2),
        ttl=word_1 >> _TTL_SHIFT,
        tos=word_0 >> _TOS_SHIFT & _OCTET,
        payload=_PLAIN_PAYLOAD,
        length=length,
    )
    found = plain if is_plain.all() else _merge_others(plain, frames, np.flatnonzero(~is_plain))
    # Mostly, the kernel vouches for all packets of a device in the same way.
    is_vouched = int(np.bitwise_and.reduce(frames[:, STATUS])) & CHECKSUM_VOUCHED
    return found if is_vouched else _check_udp(found, frames)


def mark_outgoing(packets: Headers, frames: NDArray[np.uint32]) -> None:
    """Mark the destinations of the packets that this host sends, for a link whose ring has such packets."""
    is_outgoing = frames.view(np.uint8)[:, PACKET_TYPE] == PACKET_OUTGOING
    packets.destination[is_outgoing] |= np.uint64(OUTGOING)


def _checksum_remainder(word_0: Words, word_1: Words, destination: Words) -> Words:
    """Return a number for each packet: 0 if the checksum of its IP header is correct."""
    total = word_0 + word_1
    total += total < word_1  # the carry
    total += destination
    total += total < destination
    total %= _CHECKSUM_MODULUS
    return total


def _frame_oddity(frames: NDArray[np.uint32]) -> Column:
    """Return a number for each frame: 0 if the frame has one whole IPv4 packet without a VLAN."""
    oddity: Column = frames[:, CAPTURED] ^ frames[:, LENGTH]
    oddity |= frames[:, VLAN] & VLAN_NUMBER
    oddity |= frames[:, LINK_PROTOCOL] ^ IPV4_WORD
    oddity |= gso_types(frames)
    return oddity


def _merge_others(plain: Headers, frames: NDArray[np.uint32], others: NDArray[np.int64]) -> Headers:
    """Return the columns with the packets at the rows `others` replaced by a reading field by field."""
    found = _read_by_field(np.ascontiguousarray(frames[:, :_MAX_HEADER_WORDS][others]))
    count = len(frames)
    merged = replace(
        plain,
        fault=np.zeros(count, np.uint8),
        payload=np.full(count, _PLAIN_PAYLOAD),
        network=np.full(count, _NETWORK),
        vlan=np.zeros(count, np.uint16),
    )
    for name in Headers.__slots__:
        getattr(merged, name)[others] = getattr(found, name)
    return merged


def _check_udp(headers: Headers, frames: NDArray[np.uint32]) -> Headers:
    """Return the headers with a fault for each packet that is damaged, and that the kernel did not vouch for.

    Packets that have another fault are not summed: their lengths cannot be relied on.
    """
    is_open: NDArray[np.bool_] = (frames[:, STATUS] & CHECKSUM_VOUCHED) == 0
    if headers.fault is not None:
        is_open &= headers.fault == Fault.NONE
    if not is_open.any():
        return headers
    summed = frames if is_open.all() else frames[is_open]
    udp: int | NDArray[np.int64] = IP_HEADER + NETWORK_OFFSET
    if not isinstance(headers.payload, np.uint64):
        udp = headers.payload[is_open].astype(np.int64) - UDP_HEADER
    addresses = headers.source_address.astype(np.uint64) + headers.destination_address
    is_wrong = has_wrong_checksum(summed, udp, headers.length[is_open] + UDP_HEADER, addresses[is_open])
    if not is_wrong.any():
        return headers
    fault = np.zeros(len(frames), np.uint8) if headers.fault is None else headers.fault
    fault[np.flatnonzero(is_open)[is_wrong]] = Fault.MALFORMED
    return replace(headers, fault=fault)


def _read_by_field(frames: NDArray[np.uint32]) -> Headers:
    """Return the header fields of any packets; `frames` is a copy of shape (n, _MAX_HEADER_WORDS)."""
    vlan, tag_octets = strip_tags(frames, link_octets(frames))
    network = frames.view(">u4")
    words: list[Column] = [network[:, _IP + word].astype(np.uint32) for word in range(_IP_WORDS + _UDP_WORDS)]
    first, fragment, time, source, destination, ports, lengths = words
    header = (first >> 22) & 0x3C
    sums = _sum_halves(words[:_IP_WORDS])
    if not (header == IP_HEADER).all():
        sums = sums + _sum_options(network, header)
        ports, lengths = _udp_behind_options(network, header)
    return Headers(
        fault=_faults(frames, vlan, first, fragment, time, lengths >> 16, sums),
        destination=endpoint_keys(destination, ports & 0xFFFF),
        source=endpoint_keys(source, ports >> 16),
        ttl=(time >> 24).astype(np.uint64),
        tos=((first >> 16) & 0xFF).astype(np.uint64),
        payload=(header + tag_octets + (NETWORK_OFFSET + UDP_HEADER)).astype(np.uint64),
        length=(lengths >> 16).astype(np.int64) - UDP_HEADER,
        network=(tag_octets + NETWORK_OFFSET).astype(np.uint64),
        vlan=vlan,
    )


def _faults(
    frames: NDArray[np.uint32],
    vlan: NDArray[np.uint16],
    first: Column,
    fragment: Column,
    time: Column,
    udp_length: Column,
    sums: Column,
) -> NDArray[np.uint8]:
    """Return the `Fault` of each packet, from frames and header fields; `sums` is as in RFC 1071."""
    header, total = (first >> 22) & 0x3C, first & 0xFFFF
    captured, present = frames[:, CAPTURED].astype(np.int64) - link_octets(frames), present_octets(frames)
    is_malformed = (first >> 28 != 4) | (header < IP_HEADER) | (captured < header) | (total < header)
    is_malformed |= (total > present) | ((time >> 16) & 0xFF != UDP) | (sums % CHECKSUM_MODULUS != 0)
    is_malformed |= frames[:, LINK_PROTOCOL] != IPV4_WORD
    fault = np.zeros(len(frames), np.uint8)
    # A later assignment replaces an earlier one, so the fault with the highest precedence stands last.
    fault[(udp_length < UDP_HEADER) | (udp_length > total - header)] = Fault.MALFORMED
    fault[(fragment & FRAGMENT_BITS) != 0] = Fault.FRAGMENT
    fault[(captured < present) | (gso_types(frames) != 0)] = Fault.OVERSIZE
    fault[is_malformed] = Fault.MALFORMED
    fault[vlan != 0] = Fault.TAGGED
    return fault


def _sum_halves(words: Sequence[Column]) -> Column:
    """Return the sum of the words of each header, as numbers of 16 bits."""
    total: Column = np.zeros(len(words[0]), np.uint32)
    for word in words:
        total += word >> 16
        total += word & 0xFFFF
    return total


def _sum_options(network: Column, header: Column) -> Column:
    """Return the sum of the options of each IP header, as numbers of 16 bits."""
    options = [
        np.where(header > 4 * index, network[:, _IP + index].astype(np.uint32), 0)
        for index in range(_IP_WORDS, int(header.max()) // 4)
    ]
    return _sum_halves(options) if options else np.zeros(len(network), np.uint32)


def _udp_behind_options(network: Column, header: Column) -> tuple[Column, Column]:
    rows = np.arange(len(network))
    first = _IP + (header >> 2).astype(np.int64)
    return network[rows, first].astype(np.uint32), network[rows, first + 1].astype(np.uint32)
