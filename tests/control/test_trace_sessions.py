"""Traces of clients: shared rings, a position for each client, leases, and why a trace ends."""

import gc
import mmap
import os
from dataclasses import dataclass, field
from itertools import count

import pytest

from mcrelay.control.trace_sessions import (
    ANSWER_TIMEOUT_S,
    DEFAULT_EVENTS,
    LEASE_S,
    MAX_EVENTS,
    MAX_RULES,
    MAX_SESSIONS,
    MAX_SESSIONS_PER_CLIENT,
    TraceSessions,
)
from mcrelay.protocol.control import TraceRule, TraceState
from mcrelay.protocol.jsonrpc import Code, RpcError
from mcrelay.tracing.ring import TRACE_RING_SIZE, Writer
from tests.tracing.test_ring import EVENT, numbered

NOW = 1000.0
DEVICES = {2: "eth0", 3: "eth1"}


class Ring:
    """A worker's ring: the descriptor of the supervisor, and the writer of the worker."""

    def __init__(self):
        self.descriptor = os.memfd_create("ring")
        os.ftruncate(self.descriptor, TRACE_RING_SIZE)
        self.writer = Writer(memoryview(mmap.mmap(self.descriptor, TRACE_RING_SIZE)))

    def open_for_reading(self):
        return os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY)


@dataclass
class Answer:
    """A reply that records what it is given."""

    replies: list = field(default_factory=list)

    def result(self, value):
        self.replies.append(value)

    def error(self, error):
        self.replies.append(error)


class SessionsHarness:
    """The trace sessions, a supervisor that traces every rule, and the rings of its workers."""

    def __init__(self):
        self.requests, self.rings, self.numbers = [], {}, count(1)
        self.traces = TraceSessions(self.requests.append, lambda: DEVICES)

    def start(self, rule="feed", client="one", now=NOW):
        answer = Answer()
        self.traces.start(rule, client, answer, now)
        return answer

    def answer(self, rule="feed", workers=(0,), number=None):
        number = next(self.numbers) if number is None else number
        for worker in workers:
            self.rings.setdefault((number, worker), Ring())
        self.traces.state_changed(
            TraceState(rule, number, workers),
            [self.rings[number, worker].open_for_reading() for worker in workers],
        )
        return number

    def start_traced(self, rule="feed", client="one", workers=(0,), now=NOW):
        answer = self.start(rule, client, now)
        if not answer.replies:
            self.answer(rule, workers)
        (result,) = answer.replies
        assert result == {"trace": result["trace"], "lease": LEASE_S, "rule": rule}
        return result["trace"]

    def write(self, *numbers, number=1, worker=0):
        for one in numbers:
            self.rings[number, worker].writer.write(numbered(one))

    def read(self, trace, client="one", now=NOW, packets=False, max_events=None):
        return self.traces.read(trace, packets, max_events, client, now)

    def times(self, trace, **options):
        return [event["time_ns"] for event in self.read(trace, **options)["events"]]


@pytest.fixture
def harness():
    harness = SessionsHarness()
    yield harness
    for ring in harness.rings.values():
        os.close(ring.descriptor)


def test_a_client_reads_what_workers_write(harness):
    trace = harness.start_traced()
    assert harness.requests == [TraceRule("feed", True)]
    assert harness.read(trace) == {"events": [], "lost": 0, "ended": None}
    harness.rings[1, 0].writer.write(EVENT)
    (event,) = harness.read(trace, packets=True)["events"]
    assert (event["rule"], event["worker"], event["device"]) == ("feed", 0, "eth0")
    assert "packet" in event
    harness.write(3)
    (event,) = harness.read(trace)["events"]
    assert "packet" not in event


def test_events_written_before_the_first_client_has_its_answer_are_read(harness):
    answer = harness.start()
    harness.rings[1, 0] = Ring()
    harness.write(1)
    harness.answer()
    assert harness.times(answer.replies[0]["trace"]) == [1]


def test_clients_of_one_rule_share_its_rings_and_each_has_its_own_position(harness):
    first = harness.start_traced()
    harness.write(1, 2)
    second = harness.start_traced(client="two")
    assert harness.requests == [TraceRule("feed", True)]
    harness.write(3)
    assert harness.times(second, client="two") == [3]
    assert harness.times(first) == [1, 2, 3]
    harness.traces.stop(first, "one")
    assert harness.requests == [TraceRule("feed", True)]
    harness.traces.stop(second, "two")
    assert harness.requests == [TraceRule("feed", True), TraceRule("feed", False)]


def test_events_of_several_workers_are_sorted_by_time(harness):
    trace = harness.start_traced(workers=(0, 1))
    harness.write(1, 4, worker=0)
    harness.write(2, 3, worker=1)
    assert harness.times(trace) == [1, 2, 3, 4]


def test_a_new_worker_is_read_from_its_first_event(harness):
    trace = harness.start_traced(workers=(0,))
    harness.write(1)
    harness.rings[1, 1] = Ring()
    harness.write(2, worker=1)
    harness.answer(workers=(0, 1), number=1)
    assert harness.times(trace) == [1, 2]
    assert harness.times(trace) == []


def test_an_answer_has_at_most_as_many_events_as_requested(harness):
    trace = harness.start_traced()
    harness.write(*range(MAX_EVENTS + 10))
    assert harness.times(trace, max_events=3) == [0, 1, 2]
    assert len(harness.times(trace)) == DEFAULT_EVENTS
    assert len(harness.times(trace, max_events=10_000)) == MAX_EVENTS - 3 - DEFAULT_EVENTS + 10


def test_lost_events_are_counted_since_the_start(harness):
    trace = harness.start_traced(workers=(0, 1))
    harness.rings[1, 0].writer.skip(5)
    harness.rings[1, 1].writer.skip(2)
    assert harness.read(trace)["lost"] == 7
    harness.rings[1, 1].writer.skip(1)
    assert harness.read(trace)["lost"] == 8


def test_a_trace_that_nobody_reads_ends_with_its_lease(harness):
    trace = harness.start_traced()
    harness.read(trace, now=NOW + LEASE_S - 1)
    harness.traces.expire(NOW + LEASE_S)
    assert harness.read(trace, now=NOW + LEASE_S)["ended"] is None
    harness.traces.expire(NOW + 2 * LEASE_S)
    assert harness.requests[-1] == TraceRule("feed", False)
    with pytest.raises(RpcError, match="may have expired") as error:
        harness.read(trace)
    assert error.value.code == Code.NO_SUCH_TRACE


def test_a_trace_belongs_to_the_connection_that_started_it(harness):
    trace = harness.start_traced()
    for forbidden in (harness.traces.stop, lambda trace, client: harness.read(trace, client=client)):
        with pytest.raises(RpcError):
            forbidden(trace, "two")
    assert harness.read(trace)["ended"] is None


def test_the_traces_of_a_client_end_when_it_disconnects(harness):
    harness.start_traced("feed")
    harness.start_traced("other")
    kept = harness.start_traced("other", client="two")
    waiting = harness.start("third")
    harness.traces.client_gone("one")
    assert harness.requests[3:] == [TraceRule("feed", False), TraceRule("third", False)]
    harness.answer("third")
    assert waiting.replies == []
    assert harness.read(kept, client="two")["ended"] is None


def test_a_rule_that_cannot_be_traced_is_refused_with_its_reason(harness):
    first, second = harness.start(), harness.start(client="two")
    harness.traces.state_changed(TraceState("feed", 0, (), "unresolved: no device eth7"), [])
    for answer in (first, second):
        (error,) = answer.replies
        assert error.code == Code.NOT_TRACEABLE
        assert str(error) == "`feed` cannot be traced: unresolved: no device eth7"
    harness.start_traced()
    assert harness.requests == [TraceRule("feed", True)] * 2


def test_a_trace_that_ends_gives_its_reason_once_all_events_are_read(harness):
    trace = harness.start_traced()
    harness.write(1, 2)
    harness.traces.state_changed(TraceState("feed", 1, (), "the rule is gone"), [])
    assert harness.times(trace) == [1, 2]
    assert harness.read(trace) == {"events": [], "lost": 0, "ended": "the rule is gone"}
    with pytest.raises(RpcError):
        harness.read(trace)


def test_an_ended_trace_is_apart_from_a_new_one_of_the_same_rule(harness):
    old = harness.start_traced()
    harness.traces.state_changed(TraceState("feed", 1, (), "the rule is gone"), [])
    new = harness.start_traced(client="two")
    harness.write(7, number=2)
    assert harness.read(old)["ended"] == "the rule is gone"
    assert harness.times(new, client="two") == [7]
    assert harness.requests == [TraceRule("feed", True)] * 2


def test_a_restarted_trace_is_read_from_its_new_rings(harness):
    trace = harness.start_traced()
    harness.answer(number=2)
    harness.write(1, number=1)
    harness.write(2, number=2)
    assert harness.times(trace) == [2]


def test_a_trace_without_a_client_is_stopped(harness):
    harness.traces.stop(harness.start_traced(), "one")
    harness.answer(number=2)
    assert harness.requests == [TraceRule("feed", True), TraceRule("feed", False), TraceRule("feed", False)]
    harness.traces.state_changed(TraceState("feed", 0, (), "the rule is gone"), [])
    assert len(harness.requests) == 3


def test_rings_that_arrive_after_the_client_has_gone_are_closed(harness):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    ring = Ring()
    harness.traces.state_changed(TraceState("feed", 1, (0,)), [ring.open_for_reading()])
    os.close(ring.descriptor)
    del ring
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_start_fails_if_the_supervisor_does_not_answer_in_time(harness):
    answer = harness.start()
    harness.traces.expire(NOW + ANSWER_TIMEOUT_S - 1)
    assert answer.replies == []
    harness.traces.expire(NOW + ANSWER_TIMEOUT_S)
    (error,) = answer.replies
    assert error.code == Code.NOT_TRACEABLE
    assert harness.requests == [TraceRule("feed", True), TraceRule("feed", False)]


def test_the_traces_of_a_client_have_a_limit(harness):
    for _ in range(MAX_SESSIONS_PER_CLIENT):
        harness.start_traced()
    (error,) = harness.start().replies
    assert error.code == Code.TOO_MANY
    harness.start_traced(client="two")


def test_the_rules_traced_at_once_have_a_limit(harness):
    for number in range(MAX_RULES):
        harness.start_traced(f"rule-{number}", client=number)
    (error,) = harness.start("another", client="new").replies
    assert error.code == Code.TOO_MANY
    harness.start_traced("rule-0", client="new")


def test_the_traces_of_all_clients_together_have_a_limit(harness):
    for number in range(MAX_SESSIONS):
        harness.start_traced(client=number)
    (error,) = harness.start(client="one more").replies
    assert error.code == Code.TOO_MANY
