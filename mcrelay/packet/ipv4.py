"""The headers of IPv4 and UDP, and the masks by which both packet readers recognize a plain packet.

A plain packet has an IP header without options, is not a fragment, and has a UDP header. Its first 24 octets
are read as three words of 64 bits in network byte order:

    0  version and header length, TOS, total length, identification, flags and fragment offset
    1  TTL, protocol, header checksum, source address
    2  destination address, source port, destination port

Three functions check these headers: `scalar.read_plain` (plain packets, one by one), `headers.read_headers`
(plain packets, as arrays) and `headers._faults` (all other packets); and so does `read_packet` of the kernel
data plane (kernel/program/reader.h). Change a check in all of them; the tests compare them on the packets of
tests/packet/cases.py.
"""

from __future__ import annotations

IP_HEADER = 20  # octets without options (RFC 791)
MAX_IP_HEADER = 60  # octets with all options (RFC 791)
UDP_HEADER = 8  # octets (RFC 768)
UDP = 17  # protocol number (RFC 768)

FRAGMENT_BITS = 0x3FFF  # MF and the fragment offset, in the field of 16 bits (RFC 791)

# In word 0: version 4, a header of 5 words of 32 bits, not a fragment. In word 1: the protocol.
SHAPE_MASK, SHAPE = 0xFF << 56 | FRAGMENT_BITS, 0x45 << 56
PROTOCOL_MASK, PROTOCOL = 0xFF << 48, UDP << 48

DSCP_MASK = 0xFC  # of the TOS octet; the other bits are ECN, and belong to the path that ends here (RFC 3168)

# Shifts of fields in their words, in bits from the right. Word 1 ends with the source address, word 2 with
# the destination port.
TOS_SHIFT, TOTAL_LENGTH_SHIFT = 48, 32
TTL_SHIFT = 56
DESTINATION_SHIFT, SOURCE_PORT_SHIFT = 32, 16

# The sum of the words of a correct IP header is zero modulo this number, whether they have 16, 32 or 64 bits
# (RFC 1071).
CHECKSUM_MODULUS = 0xFFFF
