"""UDP packets octet by octet, also malformed ones."""

import struct

IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")


def checksum(header):
    """Return the checksum of RFC 1071, with which the ones' complement sum of all words is 0xFFFF."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(
    payload=b"x" * 12,
    version=4,
    options=b"",
    length_words=None,
    total=0,
    protocol=17,
    fragment=0x4000,
    ttl=64,
    tos=0xB8,
    udp_length=0,
    bad_checksum=0,
    trailer=b"",
    addresses=(b"\xc0\xa8\xa8\x37", b"\xef\x01\x01\x01"),
    ports=(4000, 5001),
):
    """Return an IP packet. `total` and `udp_length` are added to the true lengths; others replace a field."""
    udp = UDP_HEADER.pack(*ports, (8 + len(payload) + udp_length) & 0xFFFF, 0) + payload
    words = 5 + len(options) // 4 if length_words is None else length_words
    length = (20 + len(options) + len(udp) + total) & 0xFFFF
    fields = [version << 4 | words, tos, length, 7, fragment, ttl, protocol, 0, *addresses]
    covered = (IP_HEADER.pack(*fields) + options + udp)[: max(20, 4 * words)]
    fields[7] = checksum(covered + bytes(len(covered) % 2)) ^ bad_checksum
    return IP_HEADER.pack(*fields) + options + udp + trailer
