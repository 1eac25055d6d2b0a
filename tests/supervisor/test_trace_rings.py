"""Each worker has a ring for each trace, which a restart keeps and the end of the trace closes."""

import os

import pytest

from mcrelay.model.actions import Close, Open
from mcrelay.model.state import DesiredState, Trace, WorkerState
from mcrelay.protocol.control import TraceState
from mcrelay.supervisor import trace_rings
from mcrelay.supervisor.supply import SupplyError
from mcrelay.supervisor.trace_rings import TraceRings
from mcrelay.tracing.ring import TRACE_RING_SIZE

FEED, CLOCK = Trace("feed", 1), Trace("clock", 2)


def same(one, other):
    return os.fstat(one).st_ino == os.fstat(other).st_ino


@pytest.fixture
def rings():
    made = TraceRings()
    yield made
    made.release_all_except(DesiredState())


def test_a_worker_gets_a_ring_for_each_trace_in_the_order_of_the_batch(rings):
    first, second = rings.supply([Open(0, FEED), Close(0, Trace("old", 1)), Open(0, CLOCK)])
    assert os.fstat(first).st_size == os.fstat(second).st_size == TRACE_RING_SIZE
    assert not same(first, second)


def test_a_restarted_worker_gets_the_same_ring(rings):
    [first] = rings.supply([Open(0, FEED)])
    [again] = rings.supply([Open(0, FEED)])
    [of_another_worker] = rings.supply([Open(1, FEED)])
    assert again == first
    assert not same(of_another_worker, first)


def test_a_later_trace_of_the_rule_gets_a_new_ring(rings):
    [first] = rings.supply([Open(0, FEED)])
    [later] = rings.supply([Open(0, Trace("feed", 7))])
    assert not same(first, later)


def test_the_control_process_gets_the_rings_in_the_order_of_the_workers(rings):
    written = rings.supply([Open(1, FEED)]) + rings.supply([Open(0, FEED)])
    read = rings.for_reading(TraceState("feed", 1, (1, 0)))
    assert all(same(one, other) for one, other in zip(written, read, strict=True))
    assert rings.for_reading(TraceState("feed", 0, (), "the rule is disabled")) == []


def test_the_rings_of_ended_traces_are_closed(rings):
    [feed, clock] = rings.supply([Open(0, FEED), Open(0, CLOCK)])
    rings.release_all_except(DesiredState(WorkerState(frozenset({CLOCK})), 1))
    os.fstat(clock)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(feed)


def test_without_memory_the_reason_names_the_rule(rings, monkeypatch):
    def full(name, size):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(trace_rings, "SharedMemory", full)
    with pytest.raises(SupplyError) as failure:
        rings.supply([Close(0, CLOCK), Open(0, FEED)])
    assert failure.value.reasons == {1: "cannot trace rule feed: too many open files"}
    with pytest.raises(SupplyError, match="cannot trace rule feed: too many open files"):
        rings.for_reading(TraceState("feed", 1, (0,)))
