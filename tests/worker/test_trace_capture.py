"""Trace events agree with the counters, and writing them changes nothing that is sent or counted."""

import errno
import mmap
import os
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcrelay.linux import sendmmsg
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.send_errors import FAULT_CODES, PathFault
from mcrelay.model.state import Flow, Route, RouteOutput, Trace
from mcrelay.packet.fib import RouteEntry
from mcrelay.tracing.events import EXPIRED, MAX_OUTCOMES, NO_VLAN, SENT, PacketVerdict
from mcrelay.tracing.ring import TRACE_RING_SIZE, Reader
from mcrelay.worker.trace_capture import CaptureBuilder
from mcrelay.worker.trace_writer import BURST_EVENTS, TraceWriter
from tests.support.memory_worker import FRAMES, LINK, SOCKET, MemoryWorker, refuse, ring_octets
from tests.support.packets import datagram, vlan_tag
from tests.support.ring_frames import Frame, matching
from tests.support.ring_frames import frames as any_frames

TRACE = Trace("feed", 1)


def start_trace(worker):
    """Trace the rule of a worker, and return a reader of the trace."""
    descriptor = os.memfd_create("trace")
    os.ftruncate(descriptor, TRACE_RING_SIZE)
    reader = Reader(memoryview(mmap.mmap(descriptor, TRACE_RING_SIZE)))
    writers, entries = {TRACE: TraceWriter(descriptor)}, {worker.flow: worker.entry}
    os.close(descriptor)
    builder = CaptureBuilder(writers, entries, worker.routes, [SOCKET])
    worker.ingress.capture = builder.build({worker.flow: 0}, worker.ingress.fib)
    return reader


def relay_traced(frames, **options):
    """Relay frames with a trace; return the worker as it then is, and the events."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = MemoryWorker(monkeypatch, ring_octets(frames), **options)
        reader = start_trace(worker)
        worker.relay()
    return worker, reader.read(1000)


@settings(max_examples=50)
@given(
    st.lists(matching | matching | any_frames, min_size=1, max_size=12),
    st.sampled_from([1, 3]),
    st.sampled_from([None, "192.168.168.55", "10.0.0.1"]),
    st.sampled_from(["decrement", 7]),
    st.sampled_from([0, errno.ENETDOWN]),
    st.sampled_from([(), (PathFault.NO_ROUTE,)]),
)
def test_events_agree_with_the_counters_and_tracing_changes_nothing(frames, width, source, ttl, code, faults):
    options = {"width": width, "source": source, "ttl": ttl, "code": code, "faults": faults}
    with pytest.MonkeyPatch.context() as monkeypatch:
        untraced = MemoryWorker(monkeypatch, ring_octets(frames), **options)
        untraced.relay()
    worker, events = relay_traced(frames, **options)
    assert (worker.sent, worker.counts()) == (untraced.sent, untraced.counts())

    verdicts = Counter(event.head.verdict for event in events)
    rule = dict(zip(RULES.columns, worker.counters.rules[0].tolist(), strict=True))
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
        counted = dict(zip(OUTPUTS.columns, worker.counters.outputs[output + 1].tolist(), strict=True))
        assert codes[output, SENT] == counted["packets"]
        assert codes[output, EXPIRED] == counted["ttl"]
        assert codes[output, errno.ENETDOWN] == counted["ENETDOWN"]
        assert codes[output, FAULT_CODES[PathFault.NO_ROUTE]] == counted["no_route"]


def test_an_event_has_the_packet_and_its_header_fields():
    packet = datagram(b"payload", ttl=9, tos=0xB8, ports=(4000, 5001))
    _, (event,) = relay_traced([Frame(packet)])
    head = event.head
    assert (head.ifindex, head.source, head.destination) == (LINK, 0xC0A8A837, 0xEF010101)
    assert (head.source_port, head.destination_port, head.payload, head.length) == (4000, 5001, 7, 35)
    assert (head.ttl, head.tos, head.verdict, head.vlan) == (9, 0xB8, PacketVerdict.RELAYED, NO_VLAN)
    assert event.packet == packet
    assert event.outputs == 1
    ((destination, ifindex, port, code),) = event.outcomes
    assert (destination, ifindex, port, code) == (0xEF020200, SOCKET.ifindex, 6001, SENT)


def test_the_event_of_a_tagged_frame_has_its_vlan_number():
    _, (event,) = relay_traced([Frame(datagram(), tag=0xE005)])
    assert (event.head.verdict, event.head.vlan) == (PacketVerdict.TAGGED, 5)


def test_the_event_of_a_frame_with_priority_tags_begins_with_the_ip_header():
    frame = Frame(vlan_tag(0xE000) + datagram(), tag=0xE000, ethertype=0x8100)
    _, (event,) = relay_traced([frame])
    assert (event.head.verdict, event.head.vlan) == (PacketVerdict.RELAYED, NO_VLAN)
    assert (event.packet, event.head.length) == (datagram(), len(datagram()))


@pytest.mark.parametrize("is_scalar", [False, True])
def test_packets_that_are_too_old_are_counted_and_traced_as_stale(monkeypatch, is_scalar):
    other_port = Frame(datagram(ports=(4000, 5002)))
    frames = [Frame(datagram()), other_port, Frame(datagram(bad_checksum=1))]  # their stamps are of 1970
    worker = MemoryWorker(monkeypatch, ring_octets(frames), is_scalar=is_scalar)
    worker.forwarding.ages.max_age = 10**9
    reader = start_trace(worker)
    worker.relay()
    assert not worker.sent
    verdicts = [event.head.verdict for event in reader.read(10)]
    assert verdicts == [PacketVerdict.STALE, PacketVerdict.NO_RULE, PacketVerdict.MALFORMED]
    links, rules, outputs = worker.counts()
    assert rules[0][RULES.column("stale")] == rules[0][RULES.column("malformed")] == 1
    assert links[0][LINKS.column("no_rule")] == 1
    assert rules[0][0] == outputs[1][0] == 0


def test_the_event_of_a_nested_tag_has_the_number_of_its_vlan():
    frame = Frame(vlan_tag(7) + datagram(), tag=0xE000, ethertype=0x8100)
    _, (event,) = relay_traced([frame])
    assert (event.head.verdict, event.head.vlan) == (PacketVerdict.TAGGED, 7)
    assert event.packet == datagram()


def test_events_are_in_the_order_of_the_packets():
    ports = [5001, 5002] * 10
    frames = [Frame(datagram(bytes(n), ports=(4000, port))) for n, port in enumerate(ports)]
    _, events = relay_traced(frames)
    assert [event.head.payload for event in events] == list(range(20))
    assert [event.head.verdict.name for event in events] == ["RELAYED", "NO_RULE"] * 10


def test_of_more_outputs_than_an_event_holds_the_failed_ones_are_kept():
    sent = iter([0] * MAX_OUTCOMES)

    def fail_after_the_first(_, at, count, __):
        done = sum(1 for _ in zip(range(count), sent, strict=False))
        return done or refuse(errno.ENETDOWN)()

    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = MemoryWorker(monkeypatch, ring_octets([Frame(datagram())]), width=MAX_OUTCOMES + 6)
        monkeypatch.setattr(sendmmsg, "_sendmmsg", fail_after_the_first)
        reader = start_trace(worker)
        worker.relay()
    (event,) = reader.read(10)
    assert event.outputs == MAX_OUTCOMES + 6
    assert [outcome.code for outcome in event.outcomes] == [errno.ENETDOWN] * 6 + [SENT] * (MAX_OUTCOMES - 6)


def test_events_beyond_the_rate_limit_are_counted_and_not_written():
    frames = [Frame(datagram(bytes(n))) for n in range(FRAMES)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = MemoryWorker(monkeypatch, ring_octets(frames))
        reader = start_trace(worker)
        (rule,) = worker.ingress.capture._rules
        assert rule.writer._limit.grant(BURST_EVENTS - 10, 0) == BURST_EVENTS - 10
        worker.relay()
    assert [event.head.payload for event in reader.read(1000)] == list(range(10))
    assert reader.lost == FRAMES - 10


def test_a_link_without_a_traced_rule_has_no_capture():
    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = MemoryWorker(monkeypatch)
        other = RouteOutput("plant", SOCKET, "239.2.2.9", 6001, 64, 0)
        flow = Flow(LINK, "239.1.1.9", 5001)
        entries = {worker.flow: worker.entry, flow: RouteEntry(Route("other", (other,)), (9, 9))}
        builder = CaptureBuilder({TRACE: None}, entries, worker.routes, [SOCKET])
        assert builder.build({flow: 1}, worker.ingress.fib) is None
        without_traces = CaptureBuilder({}, entries, worker.routes, [SOCKET])
        assert without_traces.build({worker.flow: 0}, worker.ingress.fib) is None
        worker.close()
