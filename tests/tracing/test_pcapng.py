"""Captures are read by tshark, and follow the rules of the draft."""

import shutil
import struct
import subprocess

import pytest

from mcrelay.tracing.pcapng import Capture
from tests.support.packets import datagram

TIME = 1_700_000_000_123_456_789


def blocks(octets):
    """Return the (type, body) of each block, and check its two lengths."""
    found = []
    while octets:
        kind, length = struct.unpack_from("<II", octets)
        assert length % 4 == 0
        assert struct.unpack_from("<I", octets, length - 4) == (length,)
        found.append((kind, octets[8 : length - 4]))
        octets = octets[length:]
    return found


def options(octets):
    """Return the values of a list of options by their codes."""
    found = {}
    while True:
        code, length = struct.unpack_from("<HH", octets)
        if code == 0:
            assert length == len(octets) - 4 == 0
            return found
        found[code] = octets[4 : 4 + length]
        octets = octets[4 + length + -length % 4 :]


def test_a_section_begins_with_a_header_that_shows_the_byte_order():
    ((kind, body),) = blocks(Capture("mcrelay 1.2").header)
    assert kind == 0x0A0D0D0A
    assert struct.unpack_from("<IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
    assert options(body[16:]) == {4: b"mcrelay 1.2"}


def test_a_device_is_described_once_before_its_first_packet():
    capture = Capture("mcrelay")
    octets = b"".join(
        capture.format_packet(device, 0, b"packet", 6, "") for device in ("eth0", "eth1", "eth0")
    )
    kinds = [kind for kind, _ in blocks(octets)]
    assert kinds == [1, 6, 1, 6, 6]
    described = [options(body[8:]) for kind, body in blocks(octets) if kind == 1]
    assert [(one[2], one[9]) for one in described] == [(b"eth0", b"\x09"), (b"eth1", b"\x09")]
    assert [struct.unpack_from("<I", body)[0] for kind, body in blocks(octets) if kind == 6] == [0, 1, 0]


@pytest.mark.parametrize("octets", [b"", b"1", b"four", b"seven o"])
def test_a_packet_has_its_time_octets_length_and_comment(octets):
    _, (_, body) = blocks(Capture("mcrelay").format_packet("eth0", TIME, octets, 1428, "rule feed: ü"))
    _, high, low, captured, length = struct.unpack_from("<5I", body)
    assert (high << 32 | low, captured, length) == (TIME, len(octets), 1428)
    assert body[20 : 20 + len(octets)] == octets
    after = 20 + len(octets) + -len(octets) % 4
    assert options(body[after:]) == {1: "rule feed: ü".encode(), 2: b"\x01\0\0\0"}


def test_a_comment_that_is_too_long_is_cut():
    _, (_, body) = blocks(Capture("mcrelay").format_packet("eth0", TIME, b"", 0, "x" * 70_000))
    assert len(options(body[20:])[1]) == 65535


def test_a_length_below_the_captured_octets_is_replaced_by_their_number():
    _, (_, body) = blocks(Capture("mcrelay").format_packet("eth0", TIME, b"octets", 0, ""))
    assert struct.unpack_from("<II", body, 12) == (6, 6)


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark, which `make test` installs")
def test_tshark_reads_packets_comments_devices_and_times(tmp_path):
    capture = Capture("mcrelay")
    packets = [
        capture.format_packet("eth0", TIME, datagram(b"one"), 31, "rule feed: relayed"),
        capture.format_packet("eth1", TIME + 1, datagram(b"three"), 33, "rule feed: dropped: source"),
    ]
    file = tmp_path / "capture.pcapng"
    file.write_bytes(capture.header + b"".join(packets))
    names = (
        "frame.comment",
        "frame.interface_name",
        "frame.time_epoch",
        "ip.src",
        "udp.dstport",
        "udp.payload",
    )
    fields = [word for name in names for word in ("-e", name)]
    shown = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", *fields], capture_output=True, text=True, check=True
    )
    assert [row.split("\t") for row in shown.stdout.splitlines()] == [
        ["rule feed: relayed", "eth0", "1700000000.123456789", "192.168.168.55", "5001", b"one".hex()],
        [
            "rule feed: dropped: source",
            "eth1",
            "1700000000.123456790",
            "192.168.168.55",
            "5001",
            b"three".hex(),
        ],
    ]
