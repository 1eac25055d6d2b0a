"""The scalar path sends and counts what the array path does, and leaves other than plain packets to it."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.linux import sendmmsg
from mcrelay.model.counters import LINKS, MASK, OUTPUTS, RULES
from mcrelay.model.send_errors import PathFault
from mcrelay.packet.frame import (
    NETWORK_OFFSET,
    PACKET_OUTGOING,
    SMALLEST_FRAME,
    TP_STATUS_LOSING,
    TP_STATUS_USER,
)
from mcrelay.packet.scalar import PAYLOAD_OFFSET
from mcrelay.worker import scalar_link
from mcrelay.worker.scalar_link import MAX_SCALAR_PACKETS, MAX_SCALAR_RUN_PACKETS, ScalarLink
from mcrelay.worker.scalar_path import MAX_SCALAR_OUTPUTS
from tests.packet.cases import CASES
from tests.support.memory_worker import DESCRIPTOR, TAKER_ROW, MemoryRing, MemoryWorker, ring_octets
from tests.support.packets import datagram
from tests.support.ring_frames import PACKET_MULTICAST, Frame, frame_of_case, matching
from tests.support.ring_frames import frames as any_frames


def relay(octets, is_scalar, **options):
    """Relay a ring's frames; return the datagrams by destination, and all counters."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = MemoryWorker(monkeypatch, octets, is_scalar=is_scalar, **options)
        worker.relay()
    return dict(worker.sent), worker.counts()


@given(
    st.lists(matching | matching | any_frames, min_size=1, max_size=12),
    st.integers(1, MAX_SCALAR_OUTPUTS + 1),
    st.sampled_from(["decrement", 1, 255]),
    st.sampled_from(["copy", 0, 46]),
    st.lists(st.sampled_from([None, *PathFault]), max_size=3),
    st.booleans(),
)
def test_both_paths_send_and_count_the_same(frames, width, ttl, dscp, faults, has_segments):
    options = {"width": width, "ttl": ttl, "dscp": dscp, "faults": faults, "has_segments": has_segments}
    octets = ring_octets(frames)
    assert relay(octets, True, **options) == relay(octets, False, **options)


@given(
    st.lists(matching | any_frames, min_size=1, max_size=3),
    st.lists(st.integers(0, 2), min_size=1, max_size=12),
    st.integers(1, MAX_SCALAR_OUTPUTS + 1),
    st.sampled_from(["decrement", 1, 255]),
    st.sampled_from(["copy", 0, 46]),
    st.lists(st.sampled_from([None, *PathFault]), max_size=2),
    st.sampled_from([0, 11, 71]),
)
def test_packets_that_arrive_one_by_one_are_sent_and_counted_like_others(
    kinds, order, width, ttl, dscp, faults, code
):
    frames = [kinds[index % len(kinds)].octets(14) for index in order]
    options = {"width": width, "ttl": ttl, "dscp": dscp, "faults": faults, "code": code}
    with pytest.MonkeyPatch.context() as monkeypatch:
        worker = MemoryWorker(monkeypatch, is_scalar=True, **options)
        worker.relay_singly(frames)
        found = dict(worker.sent), worker.counts()
    assert found == relay(b"".join(frames), False, **options)


def test_lone_packets_of_a_microflow_need_neither_run_nor_array(monkeypatch):
    runs, others = [], ScalarLink._relay_runs
    monkeypatch.setattr(ScalarLink, "_relay_runs", lambda link: runs.append(link) or others(link))
    worker = MemoryWorker(monkeypatch, is_scalar=True, width=2)
    worker.relay_singly([Frame(datagram(bytes([n]))).octets(14) for n in range(20)] * 30)
    assert len(runs) == 1  # the first one is learned
    assert [len(datagrams) for datagrams in worker.sent.values()] == [600] * 2


def test_a_lone_packet_that_only_some_outputs_take_is_sent_to_no_output_twice(monkeypatch):
    worker = MemoryWorker(monkeypatch, is_scalar=True, width=3)
    quickly, limits = sendmmsg.send_quickly, iter([3, 1])
    monkeypatch.setattr(
        sendmmsg,
        "send_quickly",
        lambda descriptor, place, count, flags: quickly(descriptor, place, min(count, next(limits)), flags),
    )
    worker.link = worker.forwarding.scalar_link(worker.ingress)
    worker.relay_singly([Frame(datagram(bytes([n]))).octets(14) for n in range(2)])
    assert [len(datagrams) for datagrams in worker.sent.values()] == [2] * 3
    assert [row[OUTPUTS.column("packets")] for row in worker.counts()[2][1:4]] == [2] * 3


class CountingTimer:
    """A timer that never expires by itself."""

    def __init__(self):
        self.starts = 0

    def start(self, nanoseconds):
        self.starts += 1


def test_the_clocks_are_read_once_in_a_period_for_lone_packets(monkeypatch):
    worker = MemoryWorker(monkeypatch, is_scalar=True)
    ages, timer, now, readings = worker.forwarding.ages, CountingTimer(), [0], []
    ages.max_age, ages.timer = 1_000_000_000, timer
    monkeypatch.setattr(ages, "oldest_fresh", lambda: readings.append(1) or now[0] - ages.max_age)
    monkeypatch.setattr(ages, "find_stale", lambda frames: np.array([True]))
    frame = Frame(datagram()).octets(14)

    def arrive():
        worker.ingress.ring.memory[worker.ingress.ring.head * SMALLEST_FRAME :][:SMALLEST_FRAME] = frame
        worker.turn()

    for _ in range(10):
        arrive()
    assert (len(readings), timer.starts) == (2, 1)  # of the first one, which is learned, and the next one
    ages.end_period()
    now[0] = ages.max_age + 1
    arrive()
    arrive()
    _, (rule, *_), _ = worker.counts()
    worker.close()
    assert (rule[RULES.column("packets")], rule[RULES.column("stale")]) == (10, 2)


@pytest.mark.parametrize("is_scalar", [True, False])
@pytest.mark.parametrize("loopback", [True, False])
def test_both_paths_take_what_this_host_sends_with_loopback_only(is_scalar, loopback):
    payloads = [bytes([n]) for n in range(4)]
    types = [PACKET_MULTICAST, PACKET_OUTGOING] * 2
    frames = [Frame(datagram(one), packet_type=kind) for one, kind in zip(payloads, types, strict=True)]
    sent, (links, rules, _) = relay(ring_octets(frames), is_scalar, loopback=loopback)
    taken = payloads if loopback else payloads[::2]
    assert [payload for payload, _, _ in sent[b"\xef\x02\x02\x00", 6001]] == taken
    assert rules[0][RULES.column("packets")] == len(taken)
    assert links[0][LINKS.column("no_rule")] == len(payloads) - len(taken)


@pytest.mark.parametrize("is_scalar", [True, False])
@pytest.mark.parametrize(("code", "own"), [(0, 3), (101, 0)])
def test_both_paths_count_what_another_rule_would_take_as_its_own_drop(is_scalar, code, own):
    frames = [Frame(datagram(ports=(4000, 5001)))] * 3
    _, (_, rules, _) = relay(ring_octets(frames), is_scalar, code=code, width=2)
    assert rules[TAKER_ROW][RULES.column("own")] == own
    assert rules[0][RULES.column("own")] == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_paths_send_and_count_the_same_for_the_table_of_cases(case):
    octets = ring_octets([frame_of_case(case)])
    sent, counts = relay(octets, True)
    assert (sent, counts) == relay(octets, False)
    payloads = [payload for datagrams in sent.values() for payload, _, _ in datagrams]
    assert payloads == ([] if case.payload is None else [case.payload])


def test_plain_packets_do_not_need_the_array_path(monkeypatch):
    monkeypatch.setattr("mcrelay.worker.array_path.read_headers", None)
    frames = [Frame(datagram(bytes([n]), ports=(4000, 5001))) for n in range(MAX_SCALAR_PACKETS)]
    sent, (_, rules, _) = relay(ring_octets(frames), True, width=2, ttl="decrement")
    expected = [(bytes([n]), 63, 0xB8) for n in range(MAX_SCALAR_PACKETS)]
    assert sent == {(b"\xef\x02\x02\x00", 6001): expected, (b"\xef\x02\x02\x01", 6001): expected}
    assert rules[0][RULES.column("packets")] == MAX_SCALAR_PACKETS


@pytest.mark.parametrize("is_scalar", [False, True])
def test_nothing_is_sent_to_an_output_with_a_fault_and_its_packets_are_counted_under_the_fault(is_scalar):
    faults = (None, PathFault.NO_ROUTE, PathFault.NO_NEIGHBOR)
    octets = ring_octets([Frame(datagram())] * 3)
    sent, (_, rules, outputs) = relay(octets, is_scalar, width=3, faults=faults)
    assert {destination: len(datagrams) for destination, datagrams in sent.items()} == {
        (b"\xef\x02\x02\x00", 6001): 3
    }
    assert rules[0][RULES.column("packets")] == 3
    for row, column in zip(outputs[1:], ("packets", "no_route", "no_neighbor"), strict=False):
        assert row[OUTPUTS.column(column)] == 3
        assert sum(row[: OUTPUTS.drop_columns.stop]) == (row[1] if column == "packets" else 0) + 3


@pytest.mark.parametrize(("code", "column"), [(11, "EAGAIN"), (101, "ENETUNREACH"), (71, "other")])
def test_both_paths_count_a_failed_send_by_its_errno(code, column):
    octets = ring_octets([Frame(datagram())] * 3)
    found = relay(octets, True, code=code)
    assert found == relay(octets, False, code=code)
    _, (_, _, outputs) = found
    row = outputs[1]
    assert row[OUTPUTS.column(column)] == 3
    assert row[OUTPUTS.column("packets")] == 0


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("octet", [NETWORK_OFFSET + 5, NETWORK_OFFSET + 10, PAYLOAD_OFFSET + 3])
def test_a_packet_of_a_known_microflow_is_still_checked(at, octet):
    frames = [bytearray(Frame(datagram(b"payload", damage=0)).octets(14)) for _ in range(3)]
    frames[at][octet] ^= 1  # the identification, the checksum of the IP header, the payload
    octets = b"".join(frames)
    found = relay(octets, True)
    assert found == relay(octets, False)
    _, (_, rules, _) = found
    assert rules[0][RULES.column("packets")] == 2
    assert rules[0][RULES.column("malformed")] == 1


def test_consecutive_packets_of_a_microflow_leave_in_one_message(monkeypatch):
    calls = []
    worker = MemoryWorker(
        monkeypatch, ring_octets([Frame(datagram(bytes(1400)))] * 100), is_scalar=True, width=3
    )
    quickly = sendmmsg.send_quickly
    monkeypatch.setattr(sendmmsg, "send_quickly", lambda *message: calls.append(message) or quickly(*message))
    worker.relay()
    assert len(calls) == 3  # 46, 46 and 8 packets, to three outputs each
    assert [len(datagrams) for datagrams in worker.sent.values()] == [100] * 3


def test_a_device_that_refused_segments_gets_single_messages(monkeypatch):
    frames = ring_octets([Frame(datagram(bytes(100)))] * 3)
    worker = MemoryWorker(monkeypatch, frames + frames, is_scalar=True, has_segments=False)
    path = worker.forwarding.scalar_path
    assert worker.link.relay()
    assert path._max_segment_octets == {DESCRIPTOR: 99}
    worker.relay()
    assert len(worker.sent[b"\xef\x02\x02\x00", 6001]) == 6


def test_packets_behind_dropped_ones_are_left_to_the_array_path(monkeypatch):
    monkeypatch.setattr(MemoryRing, "getsockopt", lambda *_: struct.pack("=II", 2, 7))
    frames = [Frame(datagram()), Frame(datagram(), status=TP_STATUS_USER | TP_STATUS_LOSING)]
    _, (links, rules, _) = relay(ring_octets(frames), True)
    assert links[0][LINKS.column("overrun")] == 7
    assert rules[0][RULES.column("packets")] == 2


def test_many_microflows_are_forgotten_and_relayed(monkeypatch):
    monkeypatch.setattr(scalar_link, "MAX_MICROFLOWS", 4)
    frames = [Frame(datagram(bytes(length))) for length in range(40)]
    found = relay(ring_octets(frames), True)
    assert found == relay(ring_octets(frames), False)


@pytest.mark.parametrize("is_scalar", [True, False])
def test_the_packets_of_an_output_may_be_negative_because_of_icmp_errors(monkeypatch, is_scalar):
    worker = MemoryWorker(monkeypatch, ring_octets([Frame(datagram())] * 2), is_scalar=is_scalar)
    worker.counters.outputs[1, 0] = MASK
    worker.relay()
    assert worker.counts()[2][1][0] == 1


@pytest.mark.parametrize(
    ("frames", "is_left"),
    [(MAX_SCALAR_RUN_PACKETS, False), (MAX_SCALAR_RUN_PACKETS + 1, True)],
)
def test_many_packets_are_left_to_the_array_path(monkeypatch, frames, is_left):
    worker = MemoryWorker(monkeypatch, ring_octets([Frame(datagram())] * frames), is_scalar=True)
    assert worker.link.relay() is not is_left
    assert bool(worker.sent) is not is_left


def test_many_packets_of_different_microflows_are_left_to_the_array_path_earlier(monkeypatch):
    frames = [Frame(datagram(bytes(n % 2))) for n in range(MAX_SCALAR_PACKETS + 2)]
    worker = MemoryWorker(monkeypatch, ring_octets(frames), is_scalar=True)
    assert not worker.link.relay()
    assert len(worker.sent[b"\xef\x02\x02\x00", 6001]) == 1
    worker.relay()
    assert len(worker.sent[b"\xef\x02\x02\x00", 6001]) == len(frames)
