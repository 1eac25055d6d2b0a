"""Ethernet frames octet by octet, also frames that no kernel would send."""

import socket
import struct
from dataclasses import dataclass

from tests.support.packets import checksum, udp_checksum

FOREIGN = "192.168.168.55"
GROUP, PORT = "239.1.1.1", 5001
OTHER_GROUP = "239.1.1.9"
MORE_FRAGMENTS = 0x2000
_VLAN, _IPV4 = 0x8100, 0x0800


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A UDP packet in IPv4 and Ethernet; fields that are None get their correct values.

    `vlan` is the control information of a tag of 802.1Q. `tags` has all tags, each with its Ethernet type.
    The datagram has no UDP checksum, or the true one with the bits of `damage` inverted.
    """

    payload: bytes = b"payload"
    source: str = FOREIGN
    source_port: int = 4000
    destination: str = GROUP
    port: int = PORT
    mac: bytes | None = None
    vlan: int | None = None
    tags: tuple[tuple[int, int], ...] = ()
    version: int = 4
    header_words: int | None = None
    tos: int = 0
    total: int | None = None
    fragment: int = 0
    ttl: int = 1
    protocol: int = socket.IPPROTO_UDP
    checksum: int | None = None
    options: bytes = b""
    udp_length: int | None = None
    damage: int | None = None
    trailer: bytes = b""

    def __bytes__(self):
        return self.link_header() + self._ip() + self._udp() + self.payload + self.trailer

    def link_header(self):
        """Return the Ethernet header, with the VLAN tags if there are any."""
        group = socket.inet_aton(self.destination)
        mac = self.mac or b"\x01\x00\x5e" + bytes([group[1] & 0x7F]) + group[2:]
        tags = self.tags if self.vlan is None else ((_VLAN, self.vlan),)
        octets = b"".join(struct.pack("!HH", *tag) for tag in tags)
        return mac + b"\x02\x00\x00\x00\x00\x01" + octets + struct.pack("!H", _IPV4)

    def _ip(self):
        words = 5 + len(self.options) // 4 if self.header_words is None else self.header_words
        total = 28 + len(self.options) + len(self.payload) if self.total is None else self.total
        fields = (self.version << 4 | words, self.tos, total, 0, self.fragment, self.ttl, self.protocol)
        addresses = socket.inet_aton(self.source) + socket.inet_aton(self.destination)
        bare = struct.pack("!BBHHHBBH", *fields, 0) + addresses + self.options
        found = checksum(bare) if self.checksum is None else self.checksum
        return bare[:10] + struct.pack("!H", found) + bare[12:]

    def _udp(self):
        length = 8 + len(self.payload) if self.udp_length is None else self.udp_length
        fields = self.source_port, self.port, length
        bare = struct.pack("!4H", *fields, 0)  # 0: without a checksum (RFC 768)
        if self.damage is None:
            return bare
        addresses = socket.inet_aton(self.source) + socket.inet_aton(self.destination)
        return struct.pack("!4H", *fields, udp_checksum(addresses, bare + self.payload) ^ self.damage)


def frame_with(packet, tags=()):
    """Return the octets of a frame to GROUP that has these octets as its IP packet behind VLAN tags."""
    return Frame(tags=tags).link_header() + packet


def frames_of(payloads, **fields):
    """Return one frame for each payload."""
    return [Frame(payload=payload, **fields) for payload in payloads]
