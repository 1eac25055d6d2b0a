"""A worker's data path in memory: a ring of frames in a file, recorded datagrams in place of the kernel."""

import ctypes
import errno
import os
import struct
from collections import defaultdict
from itertools import chain, repeat

import numpy as np

from mcrelay.linux import sendmmsg
from mcrelay.model.counters import COUNTERS_SIZE
from mcrelay.model.state import Egress, Flow, Route, RouteOutput
from mcrelay.packet.fib import Fib, RouteEntry, RouteTable
from mcrelay.packet.frame import SMALLEST_FRAME
from mcrelay.packet.keys import endpoint_key
from mcrelay.worker.array_path import ArrayPath
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import BatchSender
from mcrelay.worker.forwarding import ActiveIngress, Forwarding
from mcrelay.worker.near_misses import NearMisses
from mcrelay.worker.ring import Ring
from mcrelay.worker.scalar_path import ScalarPath

FRAMES = 512  # of the ring
LINK, FEED = 2, ("239.1.1.1", 5001)
OWN = ("10.9.2.1", 40_000)
SOCKET = Egress(3, "10.9.2.1")
DESCRIPTOR = 99  # of no socket: nothing is really sent
MESSAGE, CONTROL, NAME = struct.Struct("=8Q"), struct.Struct("=QiiQQiiQ"), struct.Struct("!2xH4s8x")


# The input of another rule, which gets what the first output of `feed` sends.
TAKEN, TAKER_ROW = Flow(SOCKET.ifindex, "239.2.2.0", 6001), 7


class MemoryRing:
    """A file in memory in place of a packet socket."""

    def __init__(self, octets):
        self._descriptor = os.memfd_create("ring")
        os.write(self._descriptor, octets)
        os.ftruncate(self._descriptor, FRAMES * SMALLEST_FRAME)

    def fileno(self):
        return self._descriptor

    def getsockopt(self, level, option, size):
        """Return statistics without a dropped packet."""
        return bytes(size)

    def close(self):
        os.close(self._descriptor)


def outputs(count, ttl, dscp, faults):
    """Return outputs to 239.2.2.0 and the addresses after it; `faults` has those of the first outputs."""
    return tuple(
        RouteOutput("plant", SOCKET, f"239.2.2.{n}", 6001, ttl, dscp, fault)
        for n, fault in zip(range(count), chain(faults, repeat(None)), strict=False)
    )


def ring_octets(frames):
    """Return the octets of frames in a ring."""
    return b"".join(frame.octets(14) for frame in frames)


class MemoryWorker:
    """A worker with the rule `feed`, whose ring has these octets.

    `sent` has the (payload, TTL, TOS) of the datagrams by their destination. With an errno `code`, every send
    fails. Without `has_segments`, the device takes no segmented message.
    """

    def __init__(
        self,
        monkeypatch,
        octets=b"",
        width=1,
        source=None,
        ttl=64,
        dscp="copy",
        faults=(),
        code=0,
        has_segments=True,
        is_scalar=False,
        loopback=False,
    ):
        self.sent = defaultdict(list)
        fake = refuse(code) if code else record(self.sent, has_segments)
        monkeypatch.setattr(sendmmsg, "_sendmmsg", fake)
        monkeypatch.setattr(
            sendmmsg,
            "send_quickly",
            lambda descriptor, place, count, flags: fake(descriptor, place.value, count, flags),
        )
        self._memory = os.memfd_create("counters")
        os.ftruncate(self._memory, COUNTERS_SIZE)
        self.counters = CounterWriter(self._memory)
        self.flow = Flow(LINK, *FEED, source)
        self.entry = RouteEntry(Route("feed", outputs(width, ttl, dscp, faults)), tuple(range(width + 1)))
        self.routes = RouteTable([self.entry], [SOCKET], {TAKEN: RouteEntry(Route("next", ()), (TAKER_ROW,))})
        self.forwarding = self._forwarding()
        saved_head = self.counters.saved_head(0)
        ring = Ring(MemoryRing(octets), SMALLEST_FRAME, FRAMES * SMALLEST_FRAME, saved_head, False)
        fib = Fib({self.flow: 0}, {self.flow} if loopback else frozenset())
        self.forwarding.near_misses = NearMisses({self.flow: 0}, self.counters)
        self.ingress = ActiveIngress(LINK, ring, 0, fib, fib.any_source_routes(), has_outgoing=True)
        self.link = self.forwarding.scalar_link(self.ingress)
        self.is_scalar = is_scalar

    def _forwarding(self):
        forwarding = Forwarding(self.counters, FRAMES * SMALLEST_FRAME)
        own = endpoint_key(*OWN)
        forwarding._own = np.array([own], np.uint64)
        forwarding.sender = BatchSender(self.routes, [DESCRIPTOR])
        forwarding.scalar_path = ScalarPath(self.routes, [DESCRIPTOR], frozenset({own}), self.counters)
        return forwarding

    def relay(self):
        """Relay all packets of the ring, and close it."""
        self.turn()
        self.close()

    def turn(self):
        """Relay all packets of the ring."""
        array_path = ArrayPath(self.forwarding, self.counters)
        while not (self.is_scalar and self.link.relay()):
            if not array_path.relay(self.ingress):
                break

    def relay_singly(self, frames):
        """Relay frames that arrive in an empty ring one by one, and close the ring."""
        for index, frame in enumerate(frames):
            at = index % FRAMES * SMALLEST_FRAME
            self.ingress.ring.memory[at : at + SMALLEST_FRAME] = frame
            self.turn()
        self.close()

    def close(self):
        """Close the ring and the counters."""
        self.ingress.ring.close()
        os.close(self._memory)

    def counts(self):
        """Return the first rows of the counters: of links, of rules and of outputs."""
        return tuple(
            table[:20].tolist() for table in (self.counters.links, self.counters.rules, self.counters.outputs)
        )


def record(sent, has_segments=True):
    """Return a sendmmsg(2) that records datagrams, and refuses segmented messages unless `has_segments`."""

    def sendmmsg(_, at, count, __):
        for index in range(count):
            name, _, iovecs, pieces, control, *_ = MESSAGE.unpack(ctypes.string_at(at + 64 * index, 64))
            if pieces > 1 and not has_segments:
                ctypes.set_errno(errno.EIO)
                return index or -1
            port, address = NAME.unpack(ctypes.string_at(name, 16))
            _, _, _, ttl, _, _, _, tos = CONTROL.unpack(ctypes.string_at(control, CONTROL.size))
            for piece in range(pieces):
                base, length = struct.unpack("=QQ", ctypes.string_at(iovecs + 16 * piece, 16))
                sent[address, port].append((ctypes.string_at(base, length), ttl, tos))
        return count

    return sendmmsg


def refuse(code):
    """Return a sendmmsg(2) that fails."""

    def sendmmsg(*_):
        ctypes.set_errno(code)
        return -1

    return sendmmsg
