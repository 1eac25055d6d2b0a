"""Totals over all workers, and rates, which are correct or unknown."""

import pytest

from mcrelay.model.counters import LINKS, RULES
from mcrelay.status.rates import UNKNOWN, CounterReader
from tests.support.control_harness import Memory

LONG_AGO = 0.0  # the time at which a row was assigned, long before the samples


@pytest.fixture
def counts():
    return CounterReader()


def add_memory(counts, worker=0):
    memory = Memory()
    counts.add(worker, memory.numbers.cast("B"))
    return memory


def read_rates(counts, now, row=0, since=LONG_AGO):
    reading = counts.read(now)
    return reading.rates(RULES, row, reading.counts(RULES, row), since)


def test_without_a_row_or_without_a_worker_everything_is_zero(counts):
    assert list(counts.read(1).counts(RULES, 0)) == [0] * len(RULES.columns)
    add_memory(counts).rule(0, packets=7)
    assert list(counts.read(1).counts(RULES, None)) == [0] * len(RULES.columns)
    assert counts.read(1).counts(RULES, 0)[0] == 7


def test_a_memory_is_brought_up_to_date_before_it_is_read():
    memory, counts = Memory(), CounterReader(lambda rows: memory.rule(0, packets=next(packets), octets=0))
    counts.add(0, memory.numbers.cast("B"))
    packets = iter((100, 300))
    counts.include(RULES, 0)
    counts.sample(10)
    assert read_rates(counts, 12) == (100, 0)


def test_a_rate_is_measured_from_the_youngest_sample_that_is_a_second_old(counts):
    memory = add_memory(counts)
    counts.include(RULES, 3)
    for now in range(10, 15):
        memory.rule(3, packets=100 * now, octets=1000 * now)
        counts.sample(now)
    memory.rule(3, packets=1650, octets=16_500)
    assert read_rates(counts, 14.5, 3) == (round((1650 - 1300) / 1.5, 1), round(8 * 3500 / 1.5))


def test_a_rate_is_unknown_without_a_sample_that_is_old_enough(counts):
    add_memory(counts).rule(packets=7)
    counts.include(RULES, 0)
    assert read_rates(counts, 10) == UNKNOWN
    counts.sample(10)
    assert read_rates(counts, 10.9) == UNKNOWN
    assert read_rates(counts, 11) == (0, 0)
    assert counts.read(11).rates(RULES, None, [0, 0], LONG_AGO) == UNKNOWN


def test_a_rate_is_unknown_until_the_owner_has_had_the_row_for_a_second(counts):
    add_memory(counts)
    counts.sample(10)
    counts.include(RULES, 5)
    assert read_rates(counts, 11, 5, since=10) == UNKNOWN


def test_a_rate_is_unknown_while_a_worker_is_new(counts):
    add_memory(counts)
    counts.include(RULES, 0)
    counts.sample(10)
    add_memory(counts, 1).rule(packets=1_000_000)
    assert read_rates(counts, 11) == UNKNOWN
    counts.sample(11)
    assert read_rates(counts, 12) == (0, 0)


def test_a_row_that_was_cleared_has_not_grown(counts):
    memory = add_memory(counts)
    counts.include(RULES, 0)
    memory.rule(packets=100, octets=100)
    counts.sample(10)
    memory.rule(packets=1, octets=1)
    assert read_rates(counts, 11) == (0, 0)


def test_links_and_rules_have_rates_of_their_own(counts):
    memory = add_memory(counts)
    counts.include(LINKS, 0)
    counts.include(RULES, 0)
    counts.sample(10)
    memory.link(packets=10, octets=100)
    reading = counts.read(12)
    assert reading.rates(LINKS, 0, reading.counts(LINKS, 0), LONG_AGO) == (5, 400)
    assert reading.rates(RULES, 0, reading.counts(RULES, 0), LONG_AGO) == (0, 0)
