"""The statistics equal a simple count, packet by packet, for any division into batches."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.traffic.probe import ProbeChecks
from mcrelay.traffic.statistics import (
    ArrivalBatch,
    FlowId,
    LatencyHistogram,
    Reception,
    SequenceTracker,
    sum_counts,
)

WINDOW = 8


@dataclass
class PlainSequence:
    """Computes the expected counts packet by packet, and stores all numbers."""

    window: int
    seen: set = field(default_factory=set)
    highest: int | None = None
    duplicated: int = 0
    reordered: int = 0
    stale: int = 0

    def count(self, number):
        if self.highest is not None and number <= self.highest - self.window:
            self.stale += 1
        elif number in self.seen:
            self.duplicated += 1
        else:
            self.reordered += self.highest is not None and number < self.highest
            self.seen.add(number)
            self.highest = number if self.highest is None else max(self.highest, number)

    def counts(self):
        lost = self.highest - min(self.seen) + 1 - len(self.seen) if self.seen else 0
        return len(self.seen), lost, self.duplicated, self.reordered, self.stale


def read_counts(sequence):
    return sequence.received, sequence.lost, sequence.duplicated, sequence.reordered, sequence.stale


def assert_equal_counts(batches, window):
    sequence, plain = SequenceTracker(window), PlainSequence(window)
    for batch in batches:
        sequence.count(np.array(batch, np.int64))
        for number in batch:
            plain.count(number)
        assert read_counts(sequence) == plain.counts()


near = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=30), max_size=12)
far = st.lists(st.lists(st.integers(0, 2**40) | st.integers(0, 60), min_size=1, max_size=12), max_size=8)


@given(near)
def test_numbers_in_any_order_are_counted_as_by_the_plain_count(batches):
    assert_equal_counts(batches, WINDOW)


@given(near)
def test_a_wide_window_finds_all_duplicates_and_nothing_is_stale(batches):
    assert_equal_counts(batches, 64)


@given(far)
def test_gaps_of_any_length_are_counted(batches):
    assert_equal_counts(batches, WINDOW)


@given(
    steps=st.lists(st.sampled_from([1, 1, 1, 1, 2, 5, 0, -1, -3]), min_size=1, max_size=300),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_a_stream_with_small_flaws_is_counted_as_by_the_plain_count(steps, cuts):
    numbers = (100 + np.cumsum(steps)).clip(min=0).tolist()
    batches = []
    while numbers:
        size = cuts[len(batches) % len(cuts)]
        batches.append(numbers[:size])
        numbers = numbers[size:]
    assert_equal_counts(batches, WINDOW)


def test_millions_of_packets_are_counted_exactly():
    sequence = SequenceTracker()
    generator = np.random.default_rng(1)
    lost = duplicated = 0
    for start in range(0, 3_000_000, 1000):
        numbers = np.arange(start, start + 1000)
        keep = generator.random(1000) > 0.001
        keep[[0, -1]] = True
        kept = numbers[keep]
        lost += 1000 - len(kept)
        again = kept[generator.random(len(kept)) < 0.001]
        duplicated += len(again)
        sequence.count(np.concatenate((kept, again)))
    assert read_counts(sequence) == (3_000_000 - lost, lost, duplicated, 0, 0)


def test_a_packet_that_is_overtaken_by_three_is_one_reordered_packet():
    sequence = SequenceTracker()
    sequence.count(np.array([0, 1, 3, 4, 5, 2, 6]))
    assert read_counts(sequence) == (7, 0, 0, 1, 0)


def test_a_copy_of_an_early_packet_is_a_duplicate_and_not_reordered():
    sequence = SequenceTracker()
    sequence.count(np.array([0, 1, 2, 0]))
    assert read_counts(sequence) == (3, 0, 1, 0, 0)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=200))
def test_quantiles_are_accurate_to_about_1_percent(times):
    latency = LatencyHistogram()
    latency.count(np.array(times))
    ordered = sorted(times)
    summary = latency.summarize()
    assert (summary["min"], summary["max"]) == (round(ordered[0] / 1000, 1), round(ordered[-1] / 1000, 1))
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
        exact = ordered[int(np.ceil(quantile * len(ordered))) - 1] / 1000
        assert abs(summary[name] - exact) <= abs(exact) * 0.02 + 0.06


def test_without_latencies_there_is_no_summary():
    assert LatencyHistogram().summarize() is None


def test_histograms_are_summed():
    one, other = LatencyHistogram(), LatencyHistogram()
    one.count(np.array([1_000_000] * 99))
    other.count(np.array([5_000_000]))
    one.add(other)
    assert one.summarize()["max"] == 5000
    assert one.summarize()["p99"] < 1100


def make_batch(*packets):
    """Return a batch of (source, flow or None, sequence); a sequence of None means a corrupt packet."""
    column = lambda values: np.array(list(values), np.int64)  # noqa: E731
    ours = np.array([flow is not None for _, flow, _ in packets])
    return ArrivalBatch(
        length=column(100 for _ in packets),
        source=column(source for source, _, _ in packets),
        source_port=column(4000 for _ in packets),
        ttl=column(64 - (source == 2) for source, _, _ in packets),
        tos=column(0xB8 for _ in packets),
        time=column(10**9 * (place + 1) for place in range(len(packets))),
        checks=ProbeChecks(
            ours=ours,
            known=ours,
            intact=np.array([flow is not None and number is not None for _, flow, number in packets]),
            flow=column(flow or 0 for _, flow, _ in packets),
            sequence=column(number or 0 for _, _, number in packets),
            time=column(10**9 * place for place in range(len(packets))),
        ),
    )


def test_flows_are_distinguished_by_destination_source_and_number():
    reception = Reception()
    reception.count("239.1.1.1:5001", make_batch((1, 7, 0), (1, 8, 0), (2, 7, 0), (1, 7, 1), (1, None, 0)))
    reception.count("239.1.1.2:5001", make_batch((1, 7, 0)))
    assert {key: flow.packets for key, flow in reception.flows.items()} == {
        FlowId("239.1.1.1:5001", 1, 4000, 7): 2,
        FlowId("239.1.1.1:5001", 1, 4000, 8): 1,
        FlowId("239.1.1.1:5001", 2, 4000, 7): 1,
        FlowId("239.1.1.1:5001", 1, 4000, None): 1,
        FlowId("239.1.1.2:5001", 1, 4000, 7): 1,
    }


def test_the_counts_of_all_flows_are_the_sum():
    reception = Reception()
    reception.count(
        "239.1.1.1:5001", make_batch((1, 7, 0), (1, 7, 3), (2, 7, 0), (2, 7, None), (1, None, 0), (2, 7, 0))
    )
    total = sum_counts(reception.flows.values())
    assert (total.packets, total.octets, total.received, total.lost) == (6, 600, 3, 2)
    assert (total.duplicated, total.corrupt, total.foreign) == (1, 1, 1)
    assert (total.ttl, total.dscp) == ((63, 64), (46,))
    assert total.seconds == 5
    assert total.packets_per_second == 1
    assert total.megabits_per_second == 0.0008
    assert total.latency_us["min"] == total.latency_us["max"] == 10**6


def test_the_counts_of_no_flow_are_zero():
    total = sum_counts([])
    assert (total.packets, total.packets_per_second, total.megabits_per_second) == (0, 0, 0)
    assert total.latency_us is None


def test_packets_beyond_the_maximum_of_flows_are_only_counted():
    reception = Reception(max_flows=2)
    reception.count("239.1.1.1:5001", make_batch((1, 7, 0), (2, 7, 0), (3, 7, 0), (3, 7, 1)))
    reception.count("239.1.1.1:5001", make_batch((1, 7, 1)))
    assert len(reception.flows) == 2
    assert reception.unlisted == 2
    assert sum_counts(reception.flows.values()).received == 3
