"""The packet contract as a table of cases: which packets are valid, and the fault of each other packet.

Plain data, so that every reader of packets can be run against it: the array reader, the scalar reader, and
readers in other languages. All packets go from 192.168.168.55:4000 to 239.1.1.1:5001 with TTL 64 and TOS
0xB8.
"""

import struct
from dataclasses import dataclass

from tests.support.packets import checksum, datagram

SOURCE, DESTINATION = ("192.168.168.55", 4000), ("239.1.1.1", 5001)
TTL, TOS = 64, 0xB8

VALID, TAGGED, MALFORMED, OVERSIZE, FRAGMENT = "valid", "tagged", "malformed", "oversize", "fragment"

MORE_FRAGMENTS, DONT_FRAGMENT, RESERVED_FLAG = 0x2000, 0x4000, 0x8000  # RFC 791
Q, AD = 0x8100, 0x88A8  # Ethernet types of VLAN tags
PRIORITY = 0xE000  # tag control information: priority 7, VLAN 0
DROP_ELIGIBLE = 0x1000  # tag control information: DEI, VLAN 0
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
    tags: tuple[tuple[int, int], ...] = ()
    """The VLAN tags of the frame, outermost first: Ethernet type and tag control information of each."""
    checksum: str = "open"
    """What the kernel says of the UDP checksum: nothing, that it is valid, or that it is not computed yet."""
    is_super_packet: bool = False
    """Whether the frame has several datagrams, as GSO and GRO make them."""
    captured: int | None = None
    """Octets of the packet that a ring holds; None for all of them."""


def plain(name, payload, tags=(), checksum="open", **fields):
    """Return a case that both readers take."""
    return Case(
        name, datagram(payload, **fields), VALID, payload, is_plain=True, tags=tags, checksum=checksum
    )


def nested(name, *tags):
    """Return a case with several tags and no VLAN, which the scalar reader leaves to the other."""
    return Case(name, datagram(b"payload"), VALID, b"payload", tags=tags)


def tagged(name, *tags, packet=None):
    """Return a case with a VLAN."""
    return Case(name, datagram() if packet is None else packet, TAGGED, tags=tags)


def damage_last_octet(packet):
    """Return a packet whose last octet has another value."""
    return packet[:-1] + bytes([packet[-1] ^ 1])


def damaged(name, packet, **fields):
    """Return a case with a wrong UDP checksum."""
    return Case(name, packet, MALFORMED, **fields)


# Payloads whose true checksum is 0: the sender writes 0xFFFF instead (RFC 768).
ZERO_SUM = struct.pack(
    "!H", checksum(b"\xc0\xa8\xa8\x37\xef\x01\x01\x01" + struct.pack("!6H", 17, 10, 4000, 5001, 10, 0))
)

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
    plain("a priority tag", b"payload", tags=[(Q, PRIORITY)]),
    plain("a tag of VLAN 0 without priority", b"payload", tags=[(Q, 0)]),
    plain("a priority tag with DEI", b"payload", tags=[(Q, DROP_ELIGIBLE)]),
    plain("a priority tag of 802.1ad", b"payload", tags=[(AD, PRIORITY)]),
    nested("two priority tags", (Q, PRIORITY), (Q, 0)),
    nested("a priority tag of 802.1ad and one of 802.1Q", (AD, 0), (Q, PRIORITY)),
    nested("three priority tags", (AD, PRIORITY), (AD, DROP_ELIGIBLE), (Q, PRIORITY)),
    Case(
        "two priority tags and IP options",
        datagram(b"payload", options=bytes(40)),
        VALID,
        b"payload",
        tags=[(Q, 0), (Q, 0)],
    ),
    Case("two priority tags and a bad checksum", datagram(bad_checksum=1), MALFORMED, tags=[(Q, 0), (Q, 0)]),
    damaged("two priority tags and a damaged payload", datagram(damage=1), tags=[(Q, 0), (Q, 0)]),
    Case("two priority tags and a fragment", datagram(fragment=185), FRAGMENT, tags=[(Q, 0), (Q, 0)]),
    tagged("a VLAN tag", (Q, 5)),
    tagged("a VLAN tag with a priority", (Q, PRIORITY | 5)),
    tagged("a VLAN tag of 802.1ad", (AD, 5)),
    tagged("a VLAN tag in a priority tag", (Q, PRIORITY), (Q, 5)),
    tagged("a VLAN tag in two priority tags", (Q, PRIORITY), (Q, 0), (Q, 5)),
    tagged("a priority tag in a VLAN tag", (Q, 5), (Q, PRIORITY)),
    tagged("a VLAN tag in a VLAN tag", (AD, 5), (Q, 6)),
    tagged("a VLAN tag and no packet", (Q, 5), packet=b""),
    tagged("a VLAN tag and a bad checksum", (Q, 5), packet=datagram(bad_checksum=1)),
    tagged("a VLAN tag and a damaged payload", (Q, 5), packet=datagram(damage=1)),
    plain("a UDP checksum", b"payload", damage=0),
    plain("a UDP checksum of an even payload", b"payloads", damage=0),
    plain("a UDP checksum of an empty payload", b"", damage=0),
    plain("a UDP checksum of 1472 octets", bytes(range(256)) * 5 + b"x" * 192, damage=0),
    plain("a UDP checksum of 1471 octets", b"\xff" * 1471, damage=0),
    plain("a UDP checksum of 0xFFFF", ZERO_SUM, damage=0),
    plain("a UDP checksum, and Ethernet padding that is not 0", b"payload", damage=0, trailer=b"\xa5" * 18),
    plain(
        "a wrong UDP checksum of a packet whose checksum is not computed yet",
        b"payload",
        damage=1,
        checksum="not ready",
    ),
    plain("a wrong UDP checksum that a device has found valid", b"payload", damage=1, checksum="valid"),
    Case(
        "a UDP checksum, and IP padding that is not 0",
        datagram(b"seven..", udp_length=-2, damage=0),
        VALID,
        b"seven",
        is_plain=True,
    ),
    Case(
        "a UDP checksum and IP options",
        datagram(b"payload", options=ROUTER_ALERT, damage=0),
        VALID,
        b"payload",
    ),
    damaged("a wrong UDP checksum", datagram(b"payload", damage=1)),
    damaged("a wrong UDP checksum of an even payload", datagram(b"payloads", damage=0x8000)),
    damaged("a wrong UDP checksum of an empty payload", datagram(b"", damage=1)),
    damaged("a changed last octet of an odd payload", damage_last_octet(datagram(b"payload", damage=0))),
    damaged("a changed last octet of an even payload", damage_last_octet(datagram(b"payloads", damage=0))),
    damaged("a wrong UDP checksum and IP options", datagram(b"payload", options=ROUTER_ALERT, damage=1)),
    damaged("a wrong UDP checksum and padding", datagram(b"payload", damage=1, trailer=bytes(18))),
    Case("a super-packet with a wrong UDP checksum", datagram(damage=1), OVERSIZE, is_super_packet=True),
    Case("a fragment with a wrong UDP checksum", datagram(damage=1, fragment=MORE_FRAGMENTS), FRAGMENT),
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
