"""The headers of IPv4 and UDP, and the masks by which both packet readers recognize a plain packet.

A plain packet has an IP header without options, is no fragment, and carries UDP. Its first 24 octets are read
as three little-endian words of 64 bits, so the first octet of a word is its lowest:

    0  version and header length, TOS, total length, identification, flags and fragment offset
    1  TTL, protocol, header checksum, source address
    2  destination address, source port, destination port
"""

from __future__ import annotations

IP_HEADER = 20  # octets without options (RFC 791)
MAX_IP_HEADER = 60  # octets with all options (RFC 791)
UDP_HEADER = 8  # octets (RFC 768)
UDP = 17  # protocol number (RFC 768)

FRAGMENT_BITS = 0x3FFF  # MF and the fragment offset, in the field as a number (RFC 791)

# Word 0: version 4, header length 5, MF and fragment offset zero. Word 1: the protocol is UDP.
SHAPE_MASK, SHAPE = 0xFF3F_0000_0000_00FF, 0x45
PROTOCOL_MASK, PROTOCOL = 0xFF00, UDP << 8
WORD_2_HEADER_MASK = 0xFFFF_FFFF  # the part of word 2 that belongs to the IP header

# The sum of the words of a sound IP header is zero modulo this number, whatever their size (16, 32 or 64
# bits) and byte order are (RFC 1071).
CHECKSUM_MODULUS = 0xFFFF
