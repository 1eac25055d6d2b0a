"""Read by columns, packets say what they say to a plain reader, one at a time (RFC 791, RFC 768)."""

import struct
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcrelay.packet.frame import (
    GSO_TYPE,
    NETWORK_OFFSET,
    SMALLEST_FRAME,
    TP_STATUS_USER,
    TP_STATUS_VLAN_VALID,
    VNET_HEADER,
)
from mcrelay.packet.headers import Fault, flow_key, headers, origin_key

TPACKET2_HEADER = struct.Struct("=IIIHHIIHH4x")  # struct tpacket2_hdr of linux/if_packet.h
IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")
COLUMNS = ("destination", "source", "flow", "origin", "ttl", "tos", "payload", "length")


@dataclass(frozen=True)
class Frame:
    """What the kernel puts into the ring: a packet from the IP header on, and what it says about it."""

    packet: bytes
    captured: int | None = None  # octets of it in the ring; all where nothing is said
    status: int = TP_STATUS_USER
    gso: int = 0
    stale: int = 0  # an octet of what lay in the frame before

    def octets(self, link_header):
        captured = len(self.packet) if self.captured is None else min(self.captured, len(self.packet))
        mac = NETWORK_OFFSET - link_header
        header = TPACKET2_HEADER.pack(
            self.status,
            link_header + len(self.packet),
            link_header + captured,
            mac,
            NETWORK_OFFSET,
            0,
            0,
            0,
            0,
        )
        frame = bytearray([self.stale]) * SMALLEST_FRAME
        frame[: len(header)] = header
        frame[mac - VNET_HEADER : mac] = bytes(VNET_HEADER)
        frame[mac - VNET_HEADER + GSO_TYPE] = self.gso
        frame[NETWORK_OFFSET : NETWORK_OFFSET + captured] = self.packet[:captured]
        return bytes(frame)


def ring(frames, link_header=14):
    octets = b"".join(frame.octets(link_header) for frame in frames)
    return np.frombuffer(octets, np.uint32).reshape(len(frames), -1)


def checksum(header):
    """RFC 1071: what makes the ones' complement sum of all words 0xFFFF."""
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
    """Return an IP packet; `total` and `udp_length` are added to the true lengths: lies."""
    udp = UDP_HEADER.pack(*ports, (8 + len(payload) + udp_length) & 0xFFFF, 0) + payload
    words = 5 + len(options) // 4 if length_words is None else length_words
    length = (20 + len(options) + len(udp) + total) & 0xFFFF
    fields = [version << 4 | words, tos, length, 7, fragment, ttl, protocol, 0, *addresses]
    covered = (IP_HEADER.pack(*fields) + options + udp)[: max(20, 4 * words)]
    fields[7] = checksum(covered + bytes(len(covered) % 2)) ^ bad_checksum
    return IP_HEADER.pack(*fields) + options + udp + trailer


def fault_of(packet, present, status, gso):
    """Return what is wrong with a packet of which these octets were captured, and `present` had come."""
    if status & TP_STATUS_VLAN_VALID:
        return Fault.TAGGED
    if len(packet) < 20:
        return Fault.MALFORMED
    first, _, total, _, fragment, _, protocol, _, _, _ = IP_HEADER.unpack_from(packet)
    header = 4 * (first & 15)
    if first >> 4 != 4 or header < 20 or len(packet) < header:
        return Fault.MALFORMED
    if not header <= total <= present or protocol != 17 or checksum(packet[:header]) != 0:
        return Fault.MALFORMED
    if gso or len(packet) < present:
        return Fault.OVERSIZE
    if fragment & 0x3FFF:
        return Fault.FRAGMENT
    if total - header < 8 or not 8 <= UDP_HEADER.unpack_from(packet, header)[2] <= total - header:
        return Fault.MALFORMED
    return Fault.NONE


def fields_of(packet):
    """Return the columns of a packet without a fault."""
    first, tos, _, _, _, ttl, _, _, source, destination = IP_HEADER.unpack_from(packet)
    header = 4 * (first & 15)
    source_port, destination_port, udp_length, _ = UDP_HEADER.unpack_from(packet, header)
    return {
        "destination": int.from_bytes(destination, "big"),
        "source": int.from_bytes(source, "big"),
        "flow": flow_key(int.from_bytes(destination, "big"), destination_port),
        "origin": origin_key(int.from_bytes(source, "big"), source_port),
        "ttl": ttl,
        "tos": tos,
        "payload": NETWORK_OFFSET + header + 8,
        "length": udp_length - 8,
    }


def assert_read_alike(frames, link_header=14):
    found = headers(ring(frames, link_header))
    faults = [Fault.NONE] * len(frames) if found.fault is None else found.fault
    for index, frame in enumerate(frames):
        captured = frame.packet if frame.captured is None else frame.packet[: frame.captured]
        fault = fault_of(captured, len(frame.packet), frame.status, frame.gso)
        assert Fault(faults[index]) is fault
        columns = {name: np.broadcast_to(getattr(found, name), len(frames)) for name in COLUMNS}
        read = {name: int(column[index]) for name, column in columns.items()}
        if fault is Fault.NONE:
            assert read == fields_of(captured)
        elif len(captured) >= 20:
            assert read["source"].to_bytes(4, "big") == captured[12:16]
            assert read["destination"].to_bytes(4, "big") == captured[16:20]


octet = st.integers(0, 255)
address = st.binary(min_size=4, max_size=4)
port = st.integers(0, 65_535)
often = lambda usual, other: st.one_of(*[st.just(usual)] * 6, other)  # noqa: E731

packets = st.builds(
    datagram,
    payload=st.binary(max_size=24),
    version=often(4, st.integers(0, 15)),
    options=often(b"", st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))),
    length_words=often(None, st.integers(0, 15)),
    total=often(0, st.integers(-60, 60)),
    protocol=often(17, octet),
    fragment=often(0x4000, st.sampled_from([0, 0x2000, 1, 0x1FFF, 0x3FFF, 0x8000]) | port),
    ttl=octet,
    tos=octet,
    udp_length=often(0, st.integers(-40, 40) | port),
    bad_checksum=often(0, port),
    trailer=often(b"", st.binary(max_size=26)),
    addresses=st.tuples(address, address),
    ports=st.tuples(port, port),
) | st.binary(max_size=90)
frames = st.builds(
    Frame,
    packets,
    captured=often(None, st.integers(0, 80)),
    status=often(TP_STATUS_USER, st.integers(0, 2**32 - 1)),
    gso=often(0, octet),
    stale=octet,
)
link_headers = st.sampled_from([14, 0, 4, 16])


@given(st.lists(frames, min_size=1, max_size=12), link_headers)
def test_any_frames_are_read_as_a_plain_reader_reads_them(batch, link_header):
    assert_read_alike(batch, link_header)


@given(packets.map(Frame))
def test_any_packet_alone_is_read_as_a_plain_reader_reads_it(frame):
    assert_read_alike([frame])


@given(st.binary(min_size=SMALLEST_FRAME - 96, max_size=SMALLEST_FRAME - 96), link_headers)
@example(b"\xff" * (SMALLEST_FRAME - 96), 16)
@example(bytes(SMALLEST_FRAME - 96), 0)
def test_full_frames_of_noise_are_malformed_or_read_alike(packet, link_header):
    assert_read_alike([Frame(packet), Frame(datagram())], link_header)


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (Frame(datagram()), Fault.NONE),
        (Frame(datagram(payload=b"")), Fault.NONE),
        (Frame(datagram(fragment=0)), Fault.NONE),
        (Frame(datagram(options=b"\x94\x04\x00\x00")), Fault.NONE),
        (Frame(datagram(options=bytes(40))), Fault.NONE),
        (Frame(datagram(trailer=bytes(18))), Fault.NONE),
        (Frame(datagram(payload=bytes(20), udp_length=-10)), Fault.NONE),
        (Frame(datagram(), status=TP_STATUS_USER | TP_STATUS_VLAN_VALID), Fault.TAGGED),
        (Frame(b"", status=TP_STATUS_USER | TP_STATUS_VLAN_VALID), Fault.TAGGED),
        (Frame(b""), Fault.MALFORMED),
        (Frame(datagram()[:19]), Fault.MALFORMED),
        (Frame(datagram(version=6)), Fault.MALFORMED),
        (Frame(datagram(length_words=4)), Fault.MALFORMED),
        (Frame(datagram(length_words=15)), Fault.MALFORMED),
        (Frame(datagram(bad_checksum=1)), Fault.MALFORMED),
        (Frame(datagram(protocol=6)), Fault.MALFORMED),
        (Frame(datagram(total=1)), Fault.MALFORMED),
        (Frame(datagram(total=-1)), Fault.MALFORMED),
        (Frame(datagram(total=-21)), Fault.MALFORMED),
        (Frame(datagram(udp_length=1)), Fault.MALFORMED),
        (Frame(datagram(payload=b"", udp_length=-1)), Fault.MALFORMED),
        (Frame(datagram(fragment=0x2000)), Fault.FRAGMENT),
        (Frame(datagram(fragment=185)), Fault.FRAGMENT),
        (Frame(datagram(fragment=0x2000, udp_length=1480)), Fault.FRAGMENT),
        (Frame(datagram(), captured=39), Fault.OVERSIZE),
        (Frame(datagram(), captured=20), Fault.OVERSIZE),
        (Frame(datagram(), captured=19), Fault.MALFORMED),
        (Frame(datagram(options=bytes(8)), captured=24), Fault.MALFORMED),
        (Frame(datagram(), gso=3), Fault.OVERSIZE),
        (Frame(datagram(bad_checksum=1), gso=3), Fault.MALFORMED),
    ],
)
def test_a_fault_has_its_name(frame, fault):
    found = headers(ring([frame])).fault
    assert (Fault.NONE if found is None else found[0]) == fault
    assert_read_alike([frame])


def test_the_columns_lead_to_the_payload():
    batch = [Frame(datagram(b"first")), Frame(datagram(b"second one", options=bytes(8)), stale=255)]
    words = ring(batch)
    found = headers(words)
    octets = words.view(np.uint8)
    payloads = [
        bytes(octets[index, int(start) : int(start) + int(length)])
        for index, (start, length) in enumerate(zip(found.payload, found.length, strict=True))
    ]
    assert payloads == [b"first", b"second one"]


def test_the_frames_of_a_batch_are_read_where_they_are():
    """A ring hands over a slice of itself, read-only to this test."""
    words = ring([Frame(datagram(bytes(size))) for size in range(8)])
    assert headers(words[3:6]).length.tolist() == [3, 4, 5]
