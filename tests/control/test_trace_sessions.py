"""Traces as clients follow them: shared rings, places of one's own, leases, and why a trace ends."""

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
from mcrelay.tracing.ring import MEMORY_SIZE, Writer
from tests.tracing.test_ring import EVENT, numbered

NOW = 1000.0
DEVICES = {2: "eth0", 3: "eth1"}


class Ring:
    """A worker's ring: the supervisor's descriptor, and the worker's pen."""

    def __init__(self):
        self.descriptor = os.memfd_create("ring")
        os.ftruncate(self.descriptor, MEMORY_SIZE)
        self.writer = Writer(memoryview(mmap.mmap(self.descriptor, MEMORY_SIZE)))

    def reading(self):
        return os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY)


@dataclass
class Answer:
    """A reply that notes what was said."""

    said: list = field(default_factory=list)

    def result(self, value):
        self.said.append(value)

    def error(self, error):
        self.said.append(error)


class House:
    """Traces, a supervisor that says yes, and the rings of its workers."""

    def __init__(self):
        self.asked, self.rings, self.numbers = [], {}, count(1)
        self.traces = TraceSessions(self.asked.append, lambda: DEVICES)

    def start(self, rule="feed", client="one", now=NOW):
        answer = Answer()
        self.traces.start(rule, client, answer, now)
        return answer

    def answer(self, rule="feed", workers=(0,), number=None):
        number = next(self.numbers) if number is None else number
        for worker in workers:
            self.rings.setdefault((number, worker), Ring())
        self.traces.state_changed(
            TraceState(rule, number, workers), [self.rings[number, worker].reading() for worker in workers]
        )
        return number

    def started(self, rule="feed", client="one", workers=(0,), now=NOW):
        answer = self.start(rule, client, now)
        if not answer.said:
            self.answer(rule, workers)
        (result,) = answer.said
        assert result == {"trace": result["trace"], "lease": LEASE_S, "rule": rule}
        return result["trace"]

    def write(self, *numbers, number=1, worker=0):
        for one in numbers:
            self.rings[number, worker].writer.write(numbered(one))

    def read(self, trace, client="one", now=NOW, packets=False, most=None):
        return self.traces.read(trace, packets, most, client, now)

    def times(self, trace, **options):
        return [event["time_ns"] for event in self.read(trace, **options)["events"]]


@pytest.fixture
def house():
    house = House()
    yield house
    for ring in house.rings.values():
        os.close(ring.descriptor)


def test_a_client_reads_what_workers_write(house):
    trace = house.started()
    assert house.asked == [TraceRule("feed", True)]
    assert house.read(trace) == {"events": [], "lost": 0, "ended": None}
    house.rings[1, 0].writer.write(EVENT)
    (event,) = house.read(trace, packets=True)["events"]
    assert (event["rule"], event["worker"], event["device"]) == ("feed", 0, "eth0")
    assert "packet" in event
    house.write(3)
    (event,) = house.read(trace)["events"]
    assert "packet" not in event


def test_what_is_written_before_the_first_client_hears_of_it_is_not_missed(house):
    answer = house.start()
    house.rings[1, 0] = Ring()
    house.write(1)
    house.answer()
    assert house.times(answer.said[0]["trace"]) == [1]


def test_clients_of_one_rule_share_its_rings_and_have_places_of_their_own(house):
    first = house.started()
    house.write(1, 2)
    second = house.started(client="two")
    assert house.asked == [TraceRule("feed", True)]
    house.write(3)
    assert house.times(second, client="two") == [3]
    assert house.times(first) == [1, 2, 3]
    house.traces.stop(first, "one")
    assert house.asked == [TraceRule("feed", True)]
    house.traces.stop(second, "two")
    assert house.asked == [TraceRule("feed", True), TraceRule("feed", False)]


def test_events_of_several_workers_are_mixed_by_their_times(house):
    trace = house.started(workers=(0, 1))
    house.write(1, 4, worker=0)
    house.write(2, 3, worker=1)
    assert house.times(trace) == [1, 2, 3, 4]


def test_a_worker_that_is_new_is_read_from_its_first_event(house):
    trace = house.started(workers=(0,))
    house.write(1)
    house.rings[1, 1] = Ring()
    house.write(2, worker=1)
    house.answer(workers=(0, 1), number=1)
    assert house.times(trace) == [1, 2]
    assert house.times(trace) == []


def test_an_answer_has_no_more_events_than_are_asked_for(house):
    trace = house.started()
    house.write(*range(MAX_EVENTS + 10))
    assert house.times(trace, most=3) == [0, 1, 2]
    assert len(house.times(trace)) == DEFAULT_EVENTS
    assert len(house.times(trace, most=10_000)) == MAX_EVENTS - 3 - DEFAULT_EVENTS + 10


def test_what_was_lost_is_counted_since_the_start(house):
    trace = house.started(workers=(0, 1))
    house.rings[1, 0].writer.skip(5)
    house.rings[1, 1].writer.skip(2)
    assert house.read(trace)["lost"] == 7
    house.rings[1, 1].writer.skip(1)
    assert house.read(trace)["lost"] == 8


def test_a_trace_that_nobody_reads_ends_with_its_lease(house):
    trace = house.started()
    house.read(trace, now=NOW + LEASE_S - 1)
    house.traces.expire(NOW + LEASE_S)
    assert house.read(trace, now=NOW + LEASE_S)["ended"] is None
    house.traces.expire(NOW + 2 * LEASE_S)
    assert house.asked[-1] == TraceRule("feed", False)
    with pytest.raises(RpcError, match="may have expired") as error:
        house.read(trace)
    assert error.value.code == Code.NO_SUCH_TRACE


def test_a_trace_belongs_to_the_connection_that_started_it(house):
    trace = house.started()
    for forbidden in (house.traces.stop, lambda trace, client: house.read(trace, client=client)):
        with pytest.raises(RpcError):
            forbidden(trace, "two")
    assert house.read(trace)["ended"] is None


def test_a_client_that_goes_takes_its_traces_with_it(house):
    house.started("feed")
    house.started("other")
    kept = house.started("other", client="two")
    waiting = house.start("third")
    house.traces.client_gone("one")
    assert house.asked[3:] == [TraceRule("feed", False), TraceRule("third", False)]
    house.answer("third")
    assert waiting.said == []
    assert house.read(kept, client="two")["ended"] is None


def test_a_rule_that_cannot_be_traced_is_refused_with_its_reason(house):
    first, second = house.start(), house.start(client="two")
    house.traces.state_changed(TraceState("feed", 0, (), "unresolved: no device eth7"), [])
    for answer in (first, second):
        (error,) = answer.said
        assert error.code == Code.NOT_TRACEABLE
        assert str(error) == "`feed` cannot be traced: unresolved: no device eth7"
    house.started()
    assert house.asked == [TraceRule("feed", True)] * 2


def test_a_trace_that_ends_tells_why_once_all_has_been_read(house):
    trace = house.started()
    house.write(1, 2)
    house.traces.state_changed(TraceState("feed", 1, (), "the rule is gone"), [])
    assert house.times(trace) == [1, 2]
    assert house.read(trace) == {"events": [], "lost": 0, "ended": "the rule is gone"}
    with pytest.raises(RpcError):
        house.read(trace)


def test_an_ended_trace_is_not_mixed_up_with_a_new_one_of_the_same_rule(house):
    old = house.started()
    house.traces.state_changed(TraceState("feed", 1, (), "the rule is gone"), [])
    new = house.started(client="two")
    house.write(7, number=2)
    assert house.read(old)["ended"] == "the rule is gone"
    assert house.times(new, client="two") == [7]
    assert house.asked == [TraceRule("feed", True)] * 2


def test_a_trace_that_begins_anew_is_read_in_its_new_rings(house):
    trace = house.started()
    house.answer(number=2)
    house.write(1, number=1)
    house.write(2, number=2)
    assert house.times(trace) == [2]


def test_what_is_traced_for_nobody_is_to_be_traced_no_longer(house):
    house.traces.stop(house.started(), "one")
    house.answer(number=2)
    assert house.asked == [TraceRule("feed", True), TraceRule("feed", False), TraceRule("feed", False)]
    house.traces.state_changed(TraceState("feed", 0, (), "the rule is gone"), [])
    assert len(house.asked) == 3


def test_what_nobody_waits_for_any_more_leaves_no_descriptor(house):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    ring = Ring()
    house.traces.state_changed(TraceState("feed", 1, (0,)), [ring.reading()])
    os.close(ring.descriptor)
    del ring
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_supervisor_that_does_not_answer_is_not_waited_for_long(house):
    answer = house.start()
    house.traces.expire(NOW + ANSWER_TIMEOUT_S - 1)
    assert answer.said == []
    house.traces.expire(NOW + ANSWER_TIMEOUT_S)
    (error,) = answer.said
    assert error.code == Code.NOT_TRACEABLE
    assert house.asked == [TraceRule("feed", True), TraceRule("feed", False)]


def test_a_client_may_follow_so_many_traces_and_no_more(house):
    for _ in range(MAX_SESSIONS_PER_CLIENT):
        house.started()
    (error,) = house.start().said
    assert error.code == Code.TOO_MANY
    house.started(client="two")


def test_so_many_rules_are_traced_at_once_and_no_more(house):
    for number in range(MAX_RULES):
        house.started(f"rule-{number}", client=number)
    (error,) = house.start("another", client="new").said
    assert error.code == Code.TOO_MANY
    house.started("rule-0", client="new")


def test_all_clients_together_may_follow_so_many_traces_and_no_more(house):
    for number in range(MAX_SESSIONS):
        house.started(client=number)
    (error,) = house.start(client="one more").said
    assert error.code == Code.TOO_MANY
