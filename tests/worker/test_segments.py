"""Runs have every packet once and in order, and the kernel takes each run as one message."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.linux.sendmmsg import MAX_SEGMENTED_OCTETS, MAX_SEGMENTS
from mcrelay.worker.segments import find_runs, run_sizes, run_spans, run_starts

lengths = st.sampled_from([0, 1, 2, 3, 1200, 1400, 1400, 1400, 40_000, 65_507])
packets = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0, 0xB8, 0x40FC]), lengths).flatmap(
        lambda packet: st.integers(1, 80).map(lambda count: [packet] * count) | st.just([packet])
    ),
    min_size=1,
    max_size=12,
).map(lambda groups: sorted((one for group in groups for one in group), key=lambda packet: packet[0]))


def cut(some, with_header=True):
    route, header, length = (np.array(column, np.int64) for column in zip(*some, strict=True))
    return find_runs(route, header if with_header else None, length)


def members(found, some):
    """Return the packets of each run."""
    return [some[at : at + size] for at, size in zip(found.first.tolist(), found.count.tolist(), strict=True)]


@given(packets, st.booleans())
def test_every_packet_is_in_one_run_and_in_its_place(some, with_header):
    found = cut(some, with_header)
    assert [packet for run in members(found, some) for packet in run] == some
    assert found.octets.tolist() == [sum(length for *_, length in run) for run in members(found, some)]


@given(packets)
def test_the_kernel_takes_each_run_as_one_message(some):
    found = cut(some)
    for route, run in zip(found.route.tolist(), members(found, some), strict=True):
        *others, last = [length for *_, length in run]
        assert {(route, header) for _, header, _ in run} == {(route, run[0][1])}
        assert {one for one, *_ in run} == {route}
        assert len(run) <= MAX_SEGMENTS
        assert sum(others) + last <= MAX_SEGMENTED_OCTETS
        assert len(set(others)) <= 1
        assert not others or 0 < last <= others[0]


@given(packets)
def test_header_fields_that_no_output_copies_split_no_run(some):
    bare = [(route, 0, length) for route, _, length in some]
    assert cut(some, with_header=False).first.tolist() == cut(bare).first.tolist()


def test_falling_lengths_form_runs_of_two():
    assert cut([(0, 0, length) for length in (9, 8, 7, 6, 5, 7, 7, 6, 6)]).count.tolist() == [2, 2, 1, 2, 2]


def test_equal_lengths_and_a_shorter_last_packet_form_one_run():
    assert cut([(0, 0, 1400)] * 5 + [(0, 0, 700)] + [(0, 0, 1400)] * 2).count.tolist() == [6, 2]


def test_runs_of_equal_values_have_starts_sizes_and_spans():
    values = np.array([3, 3, 1, 2, 2, 2])
    assert run_starts(values).tolist() == [0, 2, 3]
    assert run_sizes(run_starts(values), 6).tolist() == [2, 1, 3]
    assert run_spans(values) == [(0, 2), (2, 3), (3, 6)]
