"""The check of the payload of probes detects every change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.traffic.probe import MAX_PAYLOAD, MIN_PAYLOAD, ProbePayloads, check_payloads, padded_size

sizes = st.one_of(st.integers(MIN_PAYLOAD, 200), st.sampled_from([1400, 9000, MAX_PAYLOAD]))
flows = st.integers(0, 2**32 - 1)
sequences = st.integers(0, 2**63 - 1)
times = st.integers(0, 2**63 - 1)


def make_payloads(size, flow, sequence, time=0):
    """Return the octets of a payload for each flow and sequence number."""
    made = ProbePayloads(len(flow), size)
    made.fill(np.array(flow, np.uint32), np.array(sequence, np.uint64))
    made.stamp(0, len(flow), time)
    return [bytes(row[:size]) for row in made.octets]


def check_padded(*received):
    """Return the result of `check_payloads` for these payloads, each followed by garbage in its row."""
    width = padded_size(max(MIN_PAYLOAD, *map(len, received))) + 8
    rows = np.full((len(received), width), 0xA5, np.uint8)
    for row, octets in zip(rows, received, strict=True):
        row[: len(octets)] = np.frombuffer(octets, np.uint8)
    return check_payloads(rows, np.array([len(octets) for octets in received]))


@given(size=sizes, flow=flows, sequence=sequences, time=times)
def test_a_payload_is_read_as_it_was_sent(size, flow, sequence, time):
    found = check_padded(*make_payloads(size, [flow], [sequence], time))
    assert found.ours.all()
    assert found.known.all()
    assert found.intact.all()
    assert (found.flow[0], found.sequence[0], found.time[0]) == (flow, sequence, time)


@given(data=st.data(), size=st.integers(MIN_PAYLOAD, 200), flow=flows, sequence=sequences, time=times)
def test_any_changed_octet_is_detected(data, size, flow, sequence, time):
    octets = bytearray(make_payloads(size, [flow], [sequence], time)[0])
    place = data.draw(st.integers(0, size - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    found = check_padded(bytes(octets))
    assert not found.intact.any()
    assert found.ours[0] == (place >= 4), "without its mark a packet is a foreign one"
    assert found.known[0] == (place >= MIN_PAYLOAD), "the numbers of a damaged header are not valid"


@given(size=st.integers(MIN_PAYLOAD + 1, 200), cut=st.integers(1, 200), sequence=sequences)
def test_a_truncated_payload_is_detected(size, cut, sequence):
    octets = make_payloads(size, [1], [sequence])[0]
    assert not check_padded(octets[: max(0, size - cut)]).intact.any()


@pytest.mark.parametrize("size", [33, 100, 1400])
def test_the_tail_of_another_packet_is_detected(size):
    one, other = make_payloads(size, [7, 7], [1, 2])
    foreign_flow = make_payloads(size, [8], [1])[0]
    assert not check_padded(one[:-1] + other[-1:], one[:-1] + foreign_flow[-1:]).intact.any()


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=20))
def test_foreign_payloads_are_recognized(received):
    found = check_padded(*(octets for octets in received))
    assert not (found.known | found.intact).any()
    assert found.ours.tolist() == [
        octets[:4] == b"mcr1" and len(octets) >= MIN_PAYLOAD for octets in received
    ]


def test_payloads_of_many_lengths_are_each_checked_with_their_length():
    good = [make_payloads(size, [3], [size])[0] for size in (32, 33, 40, 100, 100, 1400)]
    bad = good[3][:-1] + bytes([good[3][-1] ^ 1])
    found = check_padded(*good, bad, b"foreign", b"")
    assert found.intact.tolist() == [True] * 6 + [False] * 3
    assert found.known.tolist() == [True] * 7 + [False] * 2
    assert found.sequence[:6].tolist() == [32, 33, 40, 100, 100, 1400]


def test_an_empty_batch_is_not_an_error():
    found = check_payloads(np.zeros((0, 64), np.uint8), np.zeros(0, np.int64))
    assert not len(found.intact)


def test_a_sequence_number_beyond_the_maximum_is_corrupt():
    assert not check_padded(*make_payloads(100, [1, 1], [2**63, 2**64 - 1])).known.any()


def test_a_stamp_changes_only_its_rows():
    made = ProbePayloads(4, 100)
    made.fill(np.full(4, 9, np.uint32), np.arange(4, dtype=np.uint64))
    made.stamp(0, 4, 1)
    made.stamp(1, 3, 2)
    found = check_payloads(made.octets, np.full(4, 100))
    assert found.time.tolist() == [1, 2, 2, 1]
    assert found.intact.all()
