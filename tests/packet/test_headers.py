"""The array reader agrees with the table of cases, and with the reference reader on any frames."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcrelay.model.addresses import address_to_number
from mcrelay.packet.frame import SMALLEST_FRAME
from mcrelay.packet.headers import Fault, read_headers
from tests.packet.cases import CASES, DESTINATION, SOURCE, TOS, TTL, VALID
from tests.support.packets import datagram
from tests.support.reference_reader import captured_octets, fault_of_frame, fields_of, tags_of
from tests.support.ring_frames import Frame, as_array, frame_of_case, frames, link_headers, packets

COLUMNS = (
    "destination_address",
    "source_address",
    "destination",
    "source",
    "ttl",
    "tos",
    "payload",
    "length",
    "network",
)


def assert_read_alike(frames, link_header=14):
    found = read_headers(as_array(frames, link_header))
    faults = [Fault.NONE] * len(frames) if found.fault is None else found.fault
    for index, frame in enumerate(frames):
        vlan, _, tags = tags_of(frame)
        captured = captured_octets(frame)[tags:]
        fault = fault_of_frame(frame)
        assert (0 if found.vlan is None else found.vlan[index]) == vlan
        assert Fault(faults[index]) is fault
        columns = {name: np.broadcast_to(getattr(found, name), len(frames)) for name in COLUMNS}
        read = {name: int(column[index]) for name, column in columns.items()}
        if fault is Fault.NONE:
            assert read == fields_of(frame)
        elif len(captured) >= 20:
            assert read["source_address"].to_bytes(4, "big") == captured[12:16]
            assert read["destination_address"].to_bytes(4, "big") == captured[16:20]


@given(st.lists(frames, min_size=1, max_size=12), link_headers)
def test_any_frames_are_read_like_the_reference_reader_does(batch, link_header):
    assert_read_alike(batch, link_header)


@given(packets.map(Frame))
def test_any_single_packet_is_read_like_the_reference_reader_does(frame):
    assert_read_alike([frame])


@given(st.binary(min_size=SMALLEST_FRAME - 96, max_size=SMALLEST_FRAME - 96), link_headers)
@example(b"\xff" * (SMALLEST_FRAME - 96), 16)
@example(bytes(SMALLEST_FRAME - 96), 0)
def test_full_frames_of_noise_are_read_like_the_reference_reader_does(packet, link_header):
    assert_read_alike([Frame(packet), Frame(datagram())], link_header)


def assert_case(case, found, row):
    """Check the row of a batch that has the packet of the case."""
    fault = Fault.NONE if found.fault is None else Fault(found.fault[row])
    assert fault is (Fault.NONE if case.verdict == VALID else Fault[case.verdict.upper()])
    if case.verdict == VALID:
        column = {name: np.broadcast_to(getattr(found, name), len(found.length))[row] for name in COLUMNS}
        assert (column["source_address"], column["destination_address"]) == (
            address_to_number(SOURCE[0]),
            address_to_number(DESTINATION[0]),
        )
        assert (column["ttl"], column["tos"], column["length"]) == (TTL, TOS, len(case.payload))
        start = int(column["payload"]) - int(column["network"])
        assert case.packet[start : start + int(column["length"])] == case.payload


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_packet_alone_has_the_verdict_of_the_table(case):
    frame = frame_of_case(case)
    assert_case(case, read_headers(as_array([frame])), 0)
    assert_read_alike([frame])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_packet_among_plain_ones_has_the_verdict_of_the_table(case):
    plain = Frame(datagram(b"neighbour"))
    assert_case(case, read_headers(as_array([plain, frame_of_case(case), plain])), 1)


def test_all_cases_in_one_batch_have_the_verdicts_of_the_table():
    found = read_headers(as_array([frame_of_case(case) for case in CASES]))
    for row, case in enumerate(CASES):
        assert_case(case, found, row)


def test_the_columns_locate_the_payload():
    batch = [Frame(datagram(b"first")), Frame(datagram(b"second one", options=bytes(8)), stale=255)]
    words = as_array(batch)
    found = read_headers(words)
    octets = words.view(np.uint8)
    payloads = [
        bytes(octets[index, int(start) : int(start) + int(length)])
        for index, (start, length) in enumerate(zip(found.payload, found.length, strict=True))
    ]
    assert payloads == [b"first", b"second one"]


def test_a_slice_of_a_read_only_ring_is_read_in_place():
    words = as_array([Frame(datagram(bytes(size))) for size in range(8)])
    assert read_headers(words[3:6]).length.tolist() == [3, 4, 5]
