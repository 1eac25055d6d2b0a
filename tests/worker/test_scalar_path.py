"""The light path sends and counts what the arrays would, and leaves to them whatever is not plain."""

import ctypes
import os
import struct
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.linux import sendmmsg
from mcrelay.model.counters import LINKS, MEMORY_SIZE, OUTPUTS, RULES
from mcrelay.model.state import Egress as EgressName
from mcrelay.model.state import Flow, Output, Route
from mcrelay.packet.fib import Entry, Fib, Routes
from mcrelay.packet.frame import SMALLEST_FRAME
from mcrelay.packet.headers import origin_key
from mcrelay.worker.array_path import ArrayPath
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import Egress
from mcrelay.worker.forwarding import Forwarding, Ingress
from mcrelay.worker.ring import Ring
from mcrelay.worker.scalar_path import FEW, MOST_OUTPUTS, ScalarPath
from tests.packet.test_headers import Frame, datagram
from tests.packet.test_headers import frames as any_frames

FRAMES = 64
LINK, FEED = 2, ("239.1.1.1", 5001)
GROUP, OTHER_GROUP, HOST = b"\xef\x01\x01\x01", b"\xef\x01\x01\x02", b"\xc0\xa8\xa8\x37"
OWN = (b"\x0a\x09\x02\x01", 40_000)
SOCKET = EgressName(3, "10.9.2.1")
MESSAGE, CONTROL, NAME = struct.Struct("=8Q"), struct.Struct("=QiiQQiiQ"), struct.Struct("!2xH4s8x")


class Silent:
    """No light path at all."""

    def relay(self, ring, row, flows):
        return 0


class MemoryRing:
    """A file in memory in the place of a packet socket."""

    def __init__(self, octets):
        self._descriptor = os.memfd_create("ring")
        os.write(self._descriptor, octets.ljust(FRAMES * SMALLEST_FRAME, b"\0"))

    def fileno(self):
        return self._descriptor

    def close(self):
        os.close(self._descriptor)


def outputs(count, ttl, dscp):
    return tuple(Output("plant", SOCKET, f"239.2.2.{n}", 6001, ttl, dscp) for n in range(count))


def relayed(octets, routes, is_light, monkeypatch, refusal=0):
    """Relay a ring's frames; return the datagrams by destination, and all counters."""
    sent = defaultdict(list)
    monkeypatch.setattr(sendmmsg, "_sendmmsg", refused(refusal) if refusal else recorder(sent))
    memory = os.memfd_create("counters")
    os.ftruncate(memory, MEMORY_SIZE)
    tally = CounterWriter(memory)
    forwarding = Forwarding(tally, FRAMES * SMALLEST_FRAME)
    own = int.from_bytes(OWN[0], "big") << 16 | OWN[1]
    forwarding._own = np.array([origin_key(int.from_bytes(OWN[0], "big"), OWN[1])], np.uint64)
    forwarding.egress = Egress(routes, [99])
    forwarding.light = ScalarPath(routes, [99], frozenset({own}), tally) if is_light else Silent()
    ring = Ring(MemoryRing(octets), SMALLEST_FRAME, FRAMES * SMALLEST_FRAME, tally.bookmark(0), False)
    ingress = Ingress(ring, 0, Fib({Flow(LINK, *FEED): 0}), {0xEF010101 << 16 | 5001: 0})
    while ArrayPath(forwarding, tally).relay(ingress):
        pass
    counts = {
        table: tally.numbers[table.place(0, "packets") : table.place(20, "packets")].tolist()
        for table in (LINKS, RULES, OUTPUTS)
    }
    ring.close()
    os.close(memory)
    return dict(sent), counts


def recorder(sent):
    def sendmmsg(_, at, count, __):
        for index in range(count):
            name, _, iovecs, pieces, control, *_ = MESSAGE.unpack(ctypes.string_at(at + 64 * index, 64))
            port, address = NAME.unpack(ctypes.string_at(name, 16))
            _, _, _, ttl, _, _, _, tos = CONTROL.unpack(ctypes.string_at(control, CONTROL.size))
            for piece in range(pieces):
                base, length = struct.unpack("=QQ", ctypes.string_at(iovecs + 16 * piece, 16))
                sent[address, port].append((ctypes.string_at(base, length), ttl, tos))
        return count

    return sendmmsg


def refused(code):
    def sendmmsg(*_):
        ctypes.set_errno(code)
        return -1

    return sendmmsg


def route_with(count, ttl="decrement", dscp="copy"):
    entry = Entry(Route("feed", outputs(count, ttl, dscp)), tuple(range(count + 1)))
    return Routes([entry], [SOCKET])


def octets_of(frames):
    return b"".join(frame.octets(14) for frame in frames)


matching = st.builds(
    lambda payload, ttl, tos, source, group, port: Frame(
        datagram(payload, ttl=ttl, tos=tos, addresses=(source, group), ports=(40_000, port))
    ),
    payload=st.binary(max_size=40),
    ttl=st.integers(0, 255),
    tos=st.integers(0, 255),
    source=st.sampled_from([HOST, OWN[0]]),
    group=st.sampled_from([GROUP, GROUP, GROUP, OTHER_GROUP]),
    port=st.sampled_from([5001, 5001, 5001, 5002]),
)


@given(
    st.lists(matching | matching | any_frames, min_size=1, max_size=12),
    st.integers(1, MOST_OUTPUTS + 1),
    st.sampled_from(["decrement", 1, 255]),
    st.sampled_from(["copy", 0, 46]),
)
def test_both_paths_send_and_count_the_same(frames, count, ttl, dscp):
    octets, routes = octets_of(frames), route_with(count, ttl, dscp)
    with pytest.MonkeyPatch.context() as monkeypatch:
        light = relayed(octets, routes, True, monkeypatch)
        assert light == relayed(octets, routes, False, monkeypatch)


def test_plain_packets_do_not_need_the_arrays(monkeypatch):
    monkeypatch.setattr("mcrelay.worker.array_path.headers", None)
    frames = [Frame(datagram(bytes([n]), addresses=(HOST, GROUP), ports=(4000, 5001))) for n in range(FEW)]
    sent, counts = relayed(octets_of(frames), route_with(2), True, monkeypatch)
    expected = [(bytes([n]), 63, 0xB8) for n in range(FEW)]
    assert sent == {(b"\xef\x02\x02\x00", 6001): expected, (b"\xef\x02\x02\x01", 6001): expected}
    assert counts[RULES][RULES.column("packets")] == FEW


@pytest.mark.parametrize(("code", "column"), [(11, "EAGAIN"), (101, "ENETUNREACH"), (71, "other")])
def test_both_paths_count_what_the_kernel_does_not_take_by_its_errno(code, column, monkeypatch):
    octets = octets_of([Frame(datagram(addresses=(HOST, GROUP)))] * 3)
    light = relayed(octets, route_with(1), True, monkeypatch, refusal=code)
    assert light == relayed(octets, route_with(1), False, monkeypatch, refusal=code)
    row = light[1][OUTPUTS][len(OUTPUTS.columns) :]  # the output has row 1
    assert row[OUTPUTS.column(column)] == 3
    assert row[OUTPUTS.column("packets")] == 0
