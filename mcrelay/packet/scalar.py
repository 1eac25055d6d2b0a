"""The scalar packet reader: the headers of one frame in plain Python, for few packets.

It reads only plain packets (packet/ipv4.py) without a fault, by the same rules as the array reader in
packet/headers.py, and leaves every other packet to the array reader, which names the fault.
"""

from __future__ import annotations

import struct

from mcrelay.packet.frame import GSO_TYPE, NETWORK_OFFSET, TP_STATUS_VLAN_VALID, VNET_HEADER
from mcrelay.packet.ipv4 import (
    CHECKSUM_MODULUS,
    IP_HEADER,
    PROTOCOL,
    PROTOCOL_MASK,
    SHAPE,
    SHAPE_MASK,
    UDP_HEADER,
    WORD_2_HEADER_MASK,
)
from mcrelay.packet.keys import (
    DESTINATION_MASK,
    SOURCE_ADDRESS_SHIFT,
    SOURCE_PORT_MASK,
    SOURCE_PORT_SHIFT,
    EndpointKey,
)

PAYLOAD_OFFSET = (
    NETWORK_OFFSET + IP_HEADER + UDP_HEADER
)  # of a plain packet, in octets from the start of its frame

_FRAME = struct.Struct("=IIIHHII")  # struct tpacket2_hdr: status, lengths, offsets, time stamp
_WORDS = struct.Struct("<QQQ")
_NUMBERS = struct.Struct(">2xH8xI8xH")  # total length, source address, UDP length
_GSO_OFFSET = GSO_TYPE - VNET_HEADER  # from the link header

# A named tuple would cost as much as reading the packet.
PlainPacket = tuple[EndpointKey, EndpointKey, int, int, int, int, int, int]
"""Destination, source, TTL, TOS, octets of UDP payload, source address as a number, octets of the frame
(link header included), and arrival in nanoseconds since 1970."""


def read_plain(memory: memoryview, frame: int) -> PlainPacket | None:
    """Return the fields of a plain packet without a fault, else None; `frame` is its offset in the ring."""
    status, length, captured, link, network, seconds, nanoseconds = _FRAME.unpack_from(memory, frame)
    word_0, word_1, word_2 = _WORDS.unpack_from(memory, frame + NETWORK_OFFSET)
    total, source_address, udp_length = _NUMBERS.unpack_from(memory, frame + NETWORK_OFFSET)
    if (
        word_0 & SHAPE_MASK != SHAPE
        or word_1 & PROTOCOL_MASK != PROTOCOL
        or status & TP_STATUS_VLAN_VALID
        or captured != length
        or total + (network - link) > length
        or not UDP_HEADER <= udp_length <= total - IP_HEADER
        or memory[frame + link + _GSO_OFFSET]
        or (word_0 + word_1 + (word_2 & WORD_2_HEADER_MASK)) % CHECKSUM_MODULUS
    ):
        return None
    return (
        word_2 & DESTINATION_MASK,
        word_1 >> SOURCE_ADDRESS_SHIFT | word_2 << SOURCE_PORT_SHIFT & SOURCE_PORT_MASK,
        word_1 & 0xFF,
        word_0 >> 8 & 0xFF,
        udp_length - UDP_HEADER,
        source_address,
        length,
        seconds * 1_000_000_000 + nanoseconds,
    )
