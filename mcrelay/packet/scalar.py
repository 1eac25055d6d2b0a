"""The scalar packet reader: the headers of one frame in plain Python, for few packets.

It reads only plain packets (packet/ipv4.py) without a fault, by the same rules as the array reader in
packet/headers.py. The array reader reads every other packet and determines its fault.
"""

from __future__ import annotations

import struct

from mcrelay.packet.frame import (
    CHECKSUM_VOUCHED,
    GSO_TYPE,
    IPV4_WORD,
    NETWORK_OFFSET,
    PACKET_OUTGOING,
    VLAN_NUMBER,
    VNET_HEADER,
)
from mcrelay.packet.ipv4 import (
    CHECKSUM_MODULUS,
    DESTINATION_SHIFT,
    IP_HEADER,
    PROTOCOL,
    PROTOCOL_MASK,
    SHAPE,
    SHAPE_MASK,
    SOURCE_PORT_SHIFT,
    TOS_SHIFT,
    TOTAL_LENGTH_SHIFT,
    TTL_SHIFT,
    UDP,
    UDP_HEADER,
)
from mcrelay.packet.keys import ADDRESS_SHIFT, DESTINATION_MASK, OUTGOING, PORT_MASK, EndpointKey

# Of a plain packet, in octets from the start of its frame.
PAYLOAD_OFFSET = NETWORK_OFFSET + IP_HEADER + UDP_HEADER

# struct tpacket2_hdr: status, lengths, offsets, time stamp, VLAN tag; of struct sockaddr_ll the word
# LINK_PROTOCOL and the packet type
_FRAME = struct.Struct("=IIIHHIIH6xI6xB")
_HEADERS = struct.Struct(">QQQHH")  # the three words of a plain packet, the UDP length and checksum
_ADDRESSES = NETWORK_OFFSET + 12  # offset of the two addresses, which lie directly before the UDP header
_ADDRESS_OCTETS = 8
_GSO_OFFSET = GSO_TYPE - VNET_HEADER  # from the link header

# In octet fields what all packets of a microflow have in common, in numbers what differs: status; lengths and
# offsets; seconds, nanoseconds; VLAN tag to total length; identification; fragment to protocol; checksum;
# addresses to UDP length; UDP checksum.
MICROFLOW = struct.Struct("=I12sII76sH4sH14sH")
_HALVES = struct.Struct("=10H")  # an IP header without options
_IDENTIFICATION, _CHECKSUM = 2, 5  # indexes of halves

MicroflowKey = tuple[bytes, bytes, bytes, bytes]
"""The octet fields of MICROFLOW. If one packet is plain and has no fault, so are all with its key, except
for wrong checksums."""

PlainPacket = tuple[EndpointKey, EndpointKey, int, int, int, int, int, int]
"""Destination, source, TTL, TOS, octets of UDP payload, source address as a number, octets of the frame with
its link header, arrival in nanoseconds since 1970. (A named tuple takes as long as reading the packet.)"""


def read_plain(memory: memoryview, frame: int) -> PlainPacket | None:
    """Return the fields of a plain packet without a fault, else None; `frame` is its offset in the ring."""
    status, length, captured, link, network, seconds, nanoseconds, tag, protocol, kind = _FRAME.unpack_from(
        memory, frame
    )
    word_0, word_1, word_2, udp_length, udp_checksum = _HEADERS.unpack_from(memory, frame + NETWORK_OFFSET)
    total = word_0 >> TOTAL_LENGTH_SHIFT & 0xFFFF
    if (
        word_0 & SHAPE_MASK != SHAPE
        or word_1 & PROTOCOL_MASK != PROTOCOL
        or tag & VLAN_NUMBER
        or protocol != IPV4_WORD
        or captured != length
        or total + (network - link) > length
        or not UDP_HEADER <= udp_length <= total - IP_HEADER
        or memory[frame + link + _GSO_OFFSET]
        or (word_0 + word_1 + (word_2 >> DESTINATION_SHIFT)) % CHECKSUM_MODULUS
        or not (status & CHECKSUM_VOUCHED or udp_checksum == 0 or is_intact(memory, frame, udp_length))
    ):
        return None
    source_address = word_1 & 0xFFFF_FFFF
    destination = word_2 & DESTINATION_MASK
    return (
        destination | OUTGOING if kind == PACKET_OUTGOING else destination,
        source_address << ADDRESS_SHIFT | word_2 >> SOURCE_PORT_SHIFT & PORT_MASK,
        word_1 >> TTL_SHIFT,
        word_0 >> TOS_SHIFT & 0xFF,
        udp_length - UDP_HEADER,
        source_address,
        length,
        seconds * 1_000_000_000 + nanoseconds,
    )


def sum_common_halves(memory: memoryview, frame: int) -> int:
    """Return the sum of an IP header without identification and checksum, as numbers of 16 bits.

    With these two added, it is zero modulo CHECKSUM_MODULUS if the header is correct (also in the host's byte
    order).
    """
    halves: tuple[int, ...] = _HALVES.unpack_from(memory, frame + NETWORK_OFFSET)
    return sum(halves) - halves[_IDENTIFICATION] - halves[_CHECKSUM]


def is_intact(memory: memoryview, frame: int, udp_length: int) -> bool:
    """Return whether the UDP checksum of a plain packet is right, by the sum of packet/udp_checksum.py."""
    first = frame + _ADDRESSES
    octets = memory[first : first + _ADDRESS_OCTETS + udp_length]
    return (int.from_bytes(octets, "little") + (UDP + udp_length << 8)) % CHECKSUM_MODULUS == 0
