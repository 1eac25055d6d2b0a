"""UDP packets octet by octet, also malformed ones."""

import struct

IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")


def checksum(octets):
    """Return the checksum of RFC 1071, with which the ones' complement sum of all words is 0xFFFF."""
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp_checksum(addresses, datagram):
    """Return the checksum of RFC 768 of a datagram whose checksum field is 0; `addresses` are 8 octets."""
    return checksum(addresses + struct.pack("!HH", 17, len(datagram)) + datagram) or 0xFFFF


def vlan_tag(number, ethertype=0x0800):
    """Return a VLAN tag before the IP header: the tag control information, and what follows."""
    return struct.pack("!HH", number, ethertype)


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
    damage=None,
):
    """Return an IP packet. `total` and `udp_length` are added to the true lengths; others replace a field.

    The datagram has no UDP checksum, or the true one with the bits of `damage` inverted.
    """
    fields = *ports, (8 + len(payload) + udp_length) & 0xFFFF
    udp = UDP_HEADER.pack(*fields, 0) + payload
    if damage is not None:
        true = udp_checksum(b"".join(addresses), udp[: fields[2]])
        udp = UDP_HEADER.pack(*fields, true ^ damage) + payload
    words = 5 + len(options) // 4 if length_words is None else length_words
    length = (20 + len(options) + len(udp) + total) & 0xFFFF
    fields = [version << 4 | words, tos, length, 7, fragment, ttl, protocol, 0, *addresses]
    covered = (IP_HEADER.pack(*fields) + options + udp)[: max(20, 4 * words)]
    fields[7] = checksum(covered) ^ bad_checksum
    return IP_HEADER.pack(*fields) + options + udp + trailer
