"""A batch of ring frames -> columns of header fields, and what is wrong with each packet.

One batch is read column by column: an array operation compares the same field of all packets, and no
Python runs for a single one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.frame import (
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

IP_HEADER = 20  # octets without options (RFC 791)
UDP_HEADER = 8  # RFC 768
UDP = 17
_IP = NETWORK_OFFSET // 4  # the first word of the IP header in a frame
_IP_WORDS, _UDP_WORDS = 5, 2


class Fault(IntEnum):
    """What keeps a packet from being looked up at all."""

    NONE = 0
    TAGGED = 1
    MALFORMED = 2
    OVERSIZE = 3
    FRAGMENT = 4


@dataclass(frozen=True, slots=True)
class Headers:
    """The header fields of n packets: columns of shape (n,), uint32 where nothing else is said.

    Where `fault` is set, only the addresses hold.
    """

    fault: NDArray[np.uint8]
    """A `Fault`."""
    destination: Column
    source: Column
    source_port: Column
    destination_port: Column
    ttl: Column
    tos: Column
    """The whole octet: DSCP and ECN."""
    payload: NDArray[np.int64]
    """Where the UDP payload begins, in octets from the start of the frame."""
    length: NDArray[np.int64]
    """Octets of UDP payload."""


def headers(frames: NDArray[np.uint32]) -> Headers:
    """Read n frames, shape (n, words of a frame), dtype uint32 in the host's order, n at least 1.

    Never raises, whatever the octets are. A fault is found in the order tag, header, super-packet or
    truncation, fragment, UDP lengths.
    """
    network = frames.view(">u4")
    words: list[Column] = [network[:, _IP + word].astype(np.uint32) for word in range(_IP_WORDS + _UDP_WORDS)]
    first, fragment, time, source, destination, ports, lengths = words
    header = (first >> 22) & 0x3C
    total = first & 0xFFFF
    captured, present = _network_octets(frames)
    sums = _summed(words[:_IP_WORDS])
    if not (header == IP_HEADER).all():
        sums = sums + _sums_of_options(network, header)
        ports, lengths = _udp_behind_options(network, header)
    udp_length = lengths >> 16

    is_malformed = (first >> 28 != 4) | (header < IP_HEADER) | (captured < header) | (total < header)
    # The ones' complement sum over a sound header is zero (RFC 1071), and so is this remainder.
    is_malformed |= (total > present) | ((time >> 16) & 0xFF != UDP) | (sums % 0xFFFF != 0)
    is_oversize = (captured < present) | _is_super_packet(frames)
    is_fragment = (fragment & 0x3FFF) != 0
    is_broken_udp = (udp_length < UDP_HEADER) | (udp_length > total - header)
    is_tagged = (frames[:, STATUS] & TP_STATUS_VLAN_VALID) != 0

    fault = np.zeros(len(frames), np.uint8)
    if (is_malformed | is_oversize | is_fragment | is_broken_udp | is_tagged).any():
        # The later assignment wins, so the first fault in order stands last.
        fault[is_broken_udp] = Fault.MALFORMED
        fault[is_fragment] = Fault.FRAGMENT
        fault[is_oversize] = Fault.OVERSIZE
        fault[is_malformed] = Fault.MALFORMED
        fault[is_tagged] = Fault.TAGGED
    return Headers(
        fault=fault,
        destination=destination,
        source=source,
        source_port=ports >> 16,
        destination_port=ports & 0xFFFF,
        ttl=time >> 24,
        tos=(first >> 16) & 0xFF,
        payload=header.astype(np.int64) + (NETWORK_OFFSET + UDP_HEADER),
        length=udp_length.astype(np.int64) - UDP_HEADER,
    )


def _network_octets(frames: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the octets from the IP header on: how many the frame holds, and how many the packet had."""
    link = _link_octets(frames)
    return frames[:, CAPTURED].astype(np.int64) - link, frames[:, LENGTH].astype(np.int64) - link


def _link_octets(frames: NDArray[np.uint32]) -> int:
    """Return the length of the link header, which is the same for all packets of a device."""
    offsets = int(frames[0, OFFSETS])
    return (offsets >> 16) - (offsets & 0xFFFF)


def _is_super_packet(frames: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell which frames hold several datagrams that a sender on this host, or GRO, left in one."""
    octets = frames.view(np.uint8)
    place = NETWORK_OFFSET - _link_octets(frames) - VNET_HEADER + GSO_TYPE
    is_super_packet: NDArray[np.bool_] = octets[:, place] != 0
    return is_super_packet


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
