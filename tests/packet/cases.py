"""The packet contract as a table of cases: which packets are valid, and the fault of each other packet.

Plain data, so that every reader of packets can be run against it: the array reader, the scalar reader, and
readers in other languages. All packets go from 192.168.168.55:4000 to 239.1.1.1:5001 with TTL 64 and TOS
0xB8.
"""

from dataclasses import dataclass

from tests.support.packets import datagram

SOURCE, DESTINATION = ("192.168.168.55", 4000), ("239.1.1.1", 5001)
TTL, TOS = 64, 0xB8

VALID, TAGGED, MALFORMED, OVERSIZE, FRAGMENT = "valid", "tagged", "malformed", "oversize", "fragment"

MORE_FRAGMENTS, DONT_FRAGMENT, RESERVED_FLAG = 0x2000, 0x4000, 0x8000  # RFC 791
ROUTER_ALERT = b"\x94\x04\x00\x00"  # an IP option (RFC 2113)


@dataclass(frozen=True)
class Case:
    """One packet and the verdict on it."""

    name: str
    packet: bytes
    """From the IP header on, as on the wire."""
    verdict: str
    payload: bytes | None = None
    """UDP payload of a valid packet."""
    is_plain: bool = False
    """Whether the packet is valid and has no IP options: the scalar reader takes only such packets."""
    is_tagged: bool = False
    """Whether the frame had a VLAN tag."""
    is_super_packet: bool = False
    """Whether the frame has several datagrams, as GSO and GRO make them."""
    captured: int | None = None
    """Octets of the packet that a ring holds; None for all of them."""


def plain(name, payload, **fields):
    """Return a case that both readers take."""
    return Case(name, datagram(payload, **fields), VALID, payload, is_plain=True)


CASES = [
    plain("a datagram", b"payload"),
    plain("an empty payload", b""),
    plain("DF is not set", b"payload", fragment=0),
    plain("DF is set", b"payload", fragment=DONT_FRAGMENT),
    plain("the reserved flag is set", b"payload", fragment=RESERVED_FLAG),
    plain("Ethernet padding follows the packet", b"payload", trailer=bytes(18)),
    Case(
        "IP padding follows the datagram", datagram(b"seven..", udp_length=-2), VALID, b"seven", is_plain=True
    ),
    Case("one IP option", datagram(b"payload", options=ROUTER_ALERT), VALID, b"payload"),
    Case("40 octets of IP options", datagram(b"payload", options=bytes(40)), VALID, b"payload"),
    Case("a VLAN tag", datagram(), TAGGED, is_tagged=True),
    Case("a VLAN tag and no packet", b"", TAGGED, is_tagged=True),
    Case("a VLAN tag and a bad checksum", datagram(bad_checksum=1), TAGGED, is_tagged=True),
    Case("no octets", b"", MALFORMED),
    Case("19 octets", datagram()[:19], MALFORMED),
    Case("20 octets, and no UDP header", datagram()[:20], MALFORMED),
    Case("IP version 6", datagram(version=6), MALFORMED),
    Case("IP version 5", datagram(version=5), MALFORMED),
    Case("a header length of 0 octets", datagram(length_words=0), MALFORMED),
    Case("a header length of 16 octets", datagram(length_words=4), MALFORMED),
    Case("a header longer than the packet", datagram(length_words=15), MALFORMED),
    Case("a bad header checksum", datagram(bad_checksum=1), MALFORMED),
    Case(
        "a bad checksum of a header with options", datagram(options=ROUTER_ALERT, bad_checksum=1), MALFORMED
    ),
    Case("another protocol", datagram(protocol=6), MALFORMED),
    Case("a total length one octet over the packet", datagram(total=1), MALFORMED),
    Case("a total length that cuts the datagram", datagram(total=-1), MALFORMED),
    Case("a total length without room for UDP", datagram(total=-13), MALFORMED),
    Case("a total length below the IP header", datagram(total=-21), MALFORMED),
    Case("a UDP length one octet over the packet", datagram(udp_length=1), MALFORMED),
    Case("a UDP length of 7", datagram(b"", udp_length=-1), MALFORMED),
    Case("a UDP length of 0", datagram(b"", udp_length=-8), MALFORMED),
    Case("the first fragment", datagram(fragment=MORE_FRAGMENTS), FRAGMENT),
    Case("a middle fragment", datagram(fragment=MORE_FRAGMENTS | 185), FRAGMENT),
    Case("the last fragment", datagram(fragment=185), FRAGMENT),
    Case("the smallest fragment offset", datagram(fragment=1), FRAGMENT),
    Case("a fragment of a longer datagram", datagram(fragment=MORE_FRAGMENTS, udp_length=1480), FRAGMENT),
    Case("a fragment with a bad checksum", datagram(fragment=185, bad_checksum=1), MALFORMED),
    Case("a super-packet", datagram(), OVERSIZE, is_super_packet=True),
    Case("a super-packet with a bad checksum", datagram(bad_checksum=1), MALFORMED, is_super_packet=True),
    Case("one octet did not fit the ring", datagram(), OVERSIZE, captured=39),
    Case("the ring holds the IP header only", datagram(), OVERSIZE, captured=20),
    Case("the ring holds part of the IP header", datagram(), MALFORMED, captured=19),
    Case("the ring holds part of the IP options", datagram(options=bytes(8)), MALFORMED, captured=24),
    Case("a fragment that did not fit the ring", datagram(fragment=185), OVERSIZE, captured=30),
]
