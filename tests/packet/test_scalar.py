"""The scalar reader takes the plain packets of the table of cases, and agrees with the array reader."""

import numpy as np
import pytest
from hypothesis import given

from mcrelay.model.addresses import address_to_number
from mcrelay.packet.frame import SMALLEST_FRAME
from mcrelay.packet.headers import read_headers
from mcrelay.packet.keys import endpoint_key
from mcrelay.packet.scalar import PAYLOAD_OFFSET, read_plain
from tests.packet.cases import CASES, DESTINATION, SOURCE, TOS, TTL
from tests.support.packets import datagram
from tests.support.ring_frames import Frame, as_array, frame_of_case, frames, link_headers


def read(frame, link_header=14):
    """Read a frame that is not the first of its ring."""
    ring = memoryview(bytes(SMALLEST_FRAME) + frame.octets(link_header))
    return read_plain(ring, SMALLEST_FRAME)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exactly_the_plain_packets_of_the_table_are_read(case):
    found = read(frame_of_case(case))
    if not case.is_plain:
        assert found is None
        return
    source = address_to_number(SOURCE[0])
    keys = endpoint_key(*DESTINATION), endpoint_key(*SOURCE)
    assert found == (*keys, TTL, TOS, len(case.payload), source, 14 + len(case.packet), 0)


@given(frames, link_headers)
def test_any_frame_is_read_like_the_array_reader_does(frame, link_header):
    columns = read_headers(as_array([frame], link_header))
    found = read(frame, link_header)
    if columns.fault is not None:  # the packet is not plain, even if it has no fault
        assert found is None
        return
    assert found is not None
    destination, source, ttl, tos, payload_octets, source_address, frame_octets, _ = found
    assert (destination, source) == (columns.destination[0], columns.source[0])
    assert (ttl, tos) == (columns.ttl[0], columns.tos[0])
    assert (columns.payload, columns.length[0]) == (PAYLOAD_OFFSET, payload_octets)
    assert source_address == columns.source_address[0]
    assert frame_octets == link_header + len(frame.packet)


def test_the_arrival_is_in_nanoseconds():
    octets = bytearray(Frame(datagram()).octets(14))
    words = np.frombuffer(octets, np.uint32)
    words[4:6] = 1_700_000_000, 123_456_789
    assert read_plain(memoryview(octets), 0)[-1] == 1_700_000_000_123_456_789
