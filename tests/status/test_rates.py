"""Totals over all workers, and rates that are true or unknown."""

import os

import pytest

from mcrelay.control.peer import Peer, may_trace
from mcrelay.linux.process_usage import Usage, Usages, usage
from mcrelay.model.counters import LINKS, RULES
from mcrelay.status.rates import UNKNOWN, Counts
from mcrelay.status.template import HOLE, Template, text
from tests.support.control_harness import Memory

AGES = 0.0  # a row that has been its owner's for ages


@pytest.fixture
def counts():
    return Counts()


def memory_of(counts, worker=0):
    memory = Memory()
    counts.add(worker, os.dup(memory.descriptor))
    return memory


def rates(counts, now, row=0, since=AGES):
    reading = counts.read(now)
    return reading.rates(RULES, row, reading.counts(RULES, row), since)


def test_without_a_row_or_without_a_worker_everything_is_zero(counts):
    assert list(counts.read(1).counts(RULES, 0)) == [0] * len(RULES.columns)
    memory_of(counts).rule(0, packets=7)
    assert list(counts.read(1).counts(RULES, None)) == [0] * len(RULES.columns)
    assert counts.read(1).counts(RULES, 0)[0] == 7


def test_a_rate_is_measured_from_the_youngest_sample_that_is_a_second_old(counts):
    memory = memory_of(counts)
    counts.use(RULES, 3)
    for now in range(10, 15):
        memory.rule(3, packets=100 * now, octets=1000 * now)
        counts.sample(now)
    memory.rule(3, packets=1650, octets=16_500)
    assert rates(counts, 14.5, 3) == (round((1650 - 1300) / 1.5, 1), round(8 * 3500 / 1.5))


def test_a_rate_is_unknown_without_a_sample_that_is_old_enough(counts):
    memory_of(counts).rule(packets=7)
    counts.use(RULES, 0)
    assert rates(counts, 10) == UNKNOWN
    counts.sample(10)
    assert rates(counts, 10.9) == UNKNOWN
    assert rates(counts, 11) == (0, 0)
    assert counts.read(11).rates(RULES, None, [0, 0], AGES) == UNKNOWN


def test_a_rate_is_unknown_while_the_row_is_new_to_its_owner(counts):
    memory_of(counts)
    counts.sample(10)
    counts.use(RULES, 5)
    assert rates(counts, 11, 5, since=10) == UNKNOWN


def test_a_rate_is_unknown_while_a_worker_is_new(counts):
    memory_of(counts)
    counts.use(RULES, 0)
    counts.sample(10)
    memory_of(counts, 1).rule(packets=1_000_000)
    assert rates(counts, 11) == UNKNOWN
    counts.sample(11)
    assert rates(counts, 12) == (0, 0)


def test_a_row_that_was_cleared_has_not_grown(counts):
    memory = memory_of(counts)
    counts.use(RULES, 0)
    memory.rule(packets=100, octets=100)
    counts.sample(10)
    memory.rule(packets=1, octets=1)
    assert rates(counts, 11) == (0, 0)


def test_links_and_rules_are_told_apart(counts):
    memory = memory_of(counts)
    counts.use(LINKS, 0)
    counts.use(RULES, 0)
    counts.sample(10)
    memory.link(packets=10, octets=100)
    reading = counts.read(12)
    assert reading.rates(LINKS, 0, reading.counts(LINKS, 0), AGES) == (5, 400)
    assert reading.rates(RULES, 0, reading.counts(RULES, 0), AGES) == (0, 0)


# Templates.


def test_a_template_is_the_document_with_its_holes_filled_in_order():
    document = {"a": HOLE, "100%": ["%s", HOLE], "none": None, "hole": '"\\u0000hole"', "x": "ü\n"}
    filled = Template(document).filled([1, text({"b": "%d"})])
    assert filled == text({**document, "a": 1, "100%": ["%s", {"b": "%d"}]})


# Processes.


def test_the_usage_of_a_process_is_what_the_kernel_says():
    used = usage(os.getpid())
    assert 0 < used.cpu_seconds < 10_000
    assert used.memory_octets > 1 << 20


def test_a_process_that_has_ended_uses_nothing():
    assert usage(1 << 30) is None


def test_a_percentage_is_that_of_the_last_second_or_two():
    seconds = {7: 1.0}
    usages = Usages(lambda pid: Usage(seconds[pid], 0) if pid in seconds else None)
    for now, spent in ((10, 1.0), (11, 1.5), (12, 2.5)):
        seconds[7] = spent
        usages.sample([7, 8], now)
    assert usages.percent(7, Usage(3.5, 0), 12.5) == 133.3
    assert usages.percent(7, Usage(3.5, 0), 13) == 100
    assert usages.percent(8, Usage(3.5, 0), 13) is None


# Clients.


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (Peer(0, frozenset({0})), True),
        (Peer(990, frozenset({5})), True),
        (Peer(1000, frozenset({5, 110})), True),
        (Peer(1000, frozenset({5, 111})), False),
        (Peer(1000, frozenset()), False),
    ],
)
def test_traces_are_for_root_the_daemons_user_and_the_group_of_the_socket(peer, allowed):
    assert may_trace(peer, 990, 110) is allowed


def test_where_nobody_said_who_may_only_root_may():
    assert may_trace(Peer(0, frozenset()), None, None)
    assert not may_trace(Peer(1000, frozenset({5})), None, None)
