"""What a worker notes of traced packets is what it counts, and noting it changes nothing."""

import errno
import mmap
import os
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcrelay.linux import sendmmsg
from mcrelay.model.counters import MEMORY_SIZE, OUTPUTS, RULES
from mcrelay.model.state import Flow, Output, Route, Trace
from mcrelay.packet.fib import Entry, Fib, Routes
from mcrelay.packet.frame import SMALLEST_FRAME, TP_STATUS_USER, TP_STATUS_VLAN_VALID
from mcrelay.packet.headers import origin_key
from mcrelay.tracing import ring
from mcrelay.tracing.events import EXPIRED, MAX_OUTCOMES, NO_VLAN, SENT, PacketVerdict
from mcrelay.tracing.ring import Reader
from mcrelay.worker.array_path import ArrayPath
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import Egress
from mcrelay.worker.forwarding import Forwarding, Ingress
from mcrelay.worker.ring import Ring
from mcrelay.worker.trace_capture import CaptureBuilder
from mcrelay.worker.trace_writer import BURST_EVENTS, TraceWriter
from tests.packet.test_headers import Frame, datagram
from tests.worker.test_scalar_path import (
    FEED,
    FRAMES,
    GROUP,
    HOST,
    LINK,
    OWN,
    SOCKET,
    MemoryRing,
    Silent,
    any_frames,
    matching,
    octets_of,
    outputs,
    recorder,
    refused,
)

TRACE = Trace("feed", 1)
RULE, COPIES = RULES.columns, OUTPUTS.columns


class Stage:
    """A worker with one rule, in memory: its counters, what it sent, and the ring of its trace."""

    def __init__(self, monkeypatch, width=1, source=None, ttl=64, code=0, octets=b""):
        self.sent = defaultdict(list)
        monkeypatch.setattr(sendmmsg, "_sendmmsg", refused(code) if code else recorder(self.sent))
        self.flow = Flow(LINK, *FEED, source)
        self.entry = Entry(Route("feed", outputs(width, ttl, "copy")), tuple(range(width + 1)))
        self._counters = os.memfd_create("counters")
        os.ftruncate(self._counters, MEMORY_SIZE)
        self.tally = CounterWriter(self._counters)
        self.forwarding = Forwarding(self.tally, FRAMES * SMALLEST_FRAME)
        self.forwarding._own = np.array([origin_key(int.from_bytes(OWN[0], "big"), OWN[1])], np.uint64)
        self.routes = Routes([self.entry], [SOCKET])
        self.forwarding.egress = Egress(self.routes, [99])
        self.forwarding.light = Silent()
        ring = Ring(
            MemoryRing(octets), SMALLEST_FRAME, FRAMES * SMALLEST_FRAME, self.tally.bookmark(0), False
        )
        self.ingress = Ingress(ring, 0, Fib({self.flow: 0}))

    def trace(self):
        """Trace the rule, and return a reader of it."""
        descriptor = os.memfd_create("trace")
        os.ftruncate(descriptor, ring.MEMORY_SIZE)
        reader = Reader(memoryview(mmap.mmap(descriptor, ring.MEMORY_SIZE)))
        builder = CaptureBuilder(
            {TRACE: TraceWriter(descriptor)}, {self.flow: self.entry}, self.routes, [SOCKET]
        )
        os.close(descriptor)
        self.ingress.watch = builder.build({self.flow: 0}, self.ingress.fib)
        return reader

    def relay(self):
        while ArrayPath(self.forwarding, self.tally).relay(self.ingress):
            pass

    def close(self):
        self.ingress.ring.close()
        os.close(self._counters)

    def counts(self):
        return self.tally.links.tolist()[:1], self.tally.rules.tolist()[:1], self.tally.outputs[:20].tolist()


def seen(frames, **options):
    """Relay frames with a trace; return the stage as it then is, and the events."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        stage = Stage(monkeypatch, octets=octets_of(frames), **options)
        reader = stage.trace()
        stage.relay()
        stage.close()
    return stage, reader.read(1000)


@settings(max_examples=50)
@given(
    st.lists(matching | matching | any_frames, min_size=1, max_size=12),
    st.sampled_from([1, 3]),
    st.sampled_from([None, "192.168.168.55", "10.0.0.1"]),
    st.sampled_from(["decrement", 7]),
    st.sampled_from([0, errno.ENETDOWN]),
)
def test_what_is_noted_is_what_is_counted_and_noting_it_changes_nothing(frames, width, source, ttl, code):
    options = {"width": width, "source": source, "ttl": ttl, "code": code}
    with pytest.MonkeyPatch.context() as monkeypatch:
        plain = Stage(monkeypatch, octets=octets_of(frames), **options)
        plain.relay()
        plain.close()
    stage, events = seen(frames, **options)
    assert (stage.sent, stage.counts()) == (plain.sent, plain.counts())

    verdicts = Counter(event.head.verdict for event in events)
    rule = dict(zip(RULE, stage.tally.rules[0].tolist(), strict=True))
    assert verdicts[PacketVerdict.RELAYED] == rule["packets"]
    for verdict in (
        PacketVerdict.FRAGMENT,
        PacketVerdict.MALFORMED,
        PacketVerdict.OVERSIZE,
        PacketVerdict.SOURCE,
        PacketVerdict.OWN,
    ):
        assert verdicts[verdict] == rule[verdict.drop], verdict
    codes = Counter((name, outcome.code) for event in events for name, outcome in enumerate(event.outcomes))
    for output in range(width):
        counted = dict(zip(COPIES, stage.tally.outputs[output + 1].tolist(), strict=True))
        assert codes[output, SENT] == counted["packets"]
        assert codes[output, EXPIRED] == counted["ttl"]
        assert codes[output, errno.ENETDOWN] == counted["ENETDOWN"]


def test_an_event_has_the_packet_and_what_its_headers_say():
    packet = datagram(b"payload", ttl=9, tos=0xB8, addresses=(HOST, GROUP), ports=(4000, 5001))
    _, (event,) = seen([Frame(packet)])
    head = event.head
    assert (head.ifindex, head.source, head.destination) == (LINK, 0xC0A8A837, 0xEF010101)
    assert (head.source_port, head.destination_port, head.payload, head.length) == (4000, 5001, 7, 35)
    assert (head.ttl, head.tos, head.verdict, head.vlan) == (9, 0xB8, PacketVerdict.RELAYED, NO_VLAN)
    assert event.packet == packet
    assert event.outputs == 1
    ((destination, ifindex, port, code),) = event.outcomes
    assert (destination, ifindex, port, code) == (0xEF020200, SOCKET.ifindex, 6001, SENT)


def test_a_tagged_frame_has_its_vlan():
    _, (event,) = seen([Frame(datagram(), status=TP_STATUS_USER | TP_STATUS_VLAN_VALID)])
    assert (event.head.verdict, event.head.vlan) == (PacketVerdict.TAGGED, 0)


def test_events_come_in_the_order_of_the_packets_whatever_became_of_them():
    ports = [5001, 5002] * 10
    frames = [
        Frame(datagram(bytes(n), addresses=(HOST, GROUP), ports=(4000, port))) for n, port in enumerate(ports)
    ]
    _, events = seen(frames)
    assert [event.head.payload for event in events] == list(range(20))
    assert [event.head.verdict.name for event in events] == ["RELAYED", "NO_RULE"] * 10


def test_of_very_many_outputs_those_that_failed_are_kept(monkeypatch):
    sockets = iter([0] * MAX_OUTCOMES)

    def fails_at_the_end(_, at, count, __):
        done = sum(1 for _ in zip(range(count), sockets, strict=False))
        return done or refused(errno.ENETDOWN)()

    monkeypatch.setattr(sendmmsg, "_sendmmsg", fails_at_the_end)
    with pytest.MonkeyPatch.context() as other:
        stage = Stage(other, width=MAX_OUTCOMES + 6, octets=octets_of([Frame(datagram())]))
        other.setattr(sendmmsg, "_sendmmsg", fails_at_the_end)
        reader = stage.trace()
        stage.relay()
        stage.close()
    (event,) = reader.read(10)
    assert event.outputs == MAX_OUTCOMES + 6
    assert [outcome.code for outcome in event.outcomes] == [errno.ENETDOWN] * 6 + [SENT] * (MAX_OUTCOMES - 6)


def test_beyond_the_allowance_events_are_counted_and_not_written():
    frames = [
        Frame(
            datagram(bytes(n)),
        )
        for n in range(FRAMES)
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        stage = Stage(monkeypatch, octets=octets_of(frames))
        reader = stage.trace()
        (rule,) = stage.ingress.watch._rules
        assert rule.writer._limit.take(BURST_EVENTS - 10, 0) == BURST_EVENTS - 10
        stage.relay()
        stage.close()
    assert [event.head.payload for event in reader.read(1000)] == list(range(10))
    assert reader.lost == FRAMES - 10


def test_a_link_without_a_traced_rule_is_not_watched():
    with pytest.MonkeyPatch.context() as monkeypatch:
        stage = Stage(monkeypatch)
        other = Output("plant", SOCKET, "239.2.2.9", 6001, 64, 0)
        flow = Flow(LINK, "239.1.1.9", 5001)
        flows = {stage.flow: stage.entry, flow: Entry(Route("other", (other,)), (9, 9))}
        builder = CaptureBuilder({TRACE: None}, flows, stage.routes, [SOCKET])
        assert builder.build({flow: 1}, stage.ingress.fib) is None
        assert (
            CaptureBuilder({}, flows, stage.routes, [SOCKET]).build({stage.flow: 0}, stage.ingress.fib)
            is None
        )
        stage.close()
