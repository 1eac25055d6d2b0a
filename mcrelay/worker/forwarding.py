"""What a worker forwards: rings, sockets and flows, changed batch by batch, whole or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux import socket_filters
from mcrelay.model.actions import Close, DeleteFlow, Open, SetFlow
from mcrelay.model.addresses import address_to_number, is_group_number
from mcrelay.model.state import Egress as EgressName
from mcrelay.model.state import Flow, Trace
from mcrelay.model.state import Ingress as IngressName
from mcrelay.packet.fib import Entry, Fib, Routes, find
from mcrelay.packet.headers import origin_key
from mcrelay.protocol.worker import BatchMessage, Instruction
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import Egress
from mcrelay.worker.ring import Ring
from mcrelay.worker.scalar_path import ScalarPath
from mcrelay.worker.trace_capture import CaptureBuilder, TraceCapture
from mcrelay.worker.trace_writer import TraceWriter


class Refusal(Exception):
    """An instruction that cannot be carried out, by its place in the batch."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


@dataclass(slots=True)
class Ingress:
    """A link whose packets are read: its ring, the row of its counters, and its lookup."""

    ring: Ring
    row: int
    fib: Fib
    plain: Mapping[int, int] = field(default_factory=dict)
    """The route of each destination (address << 16 | port) that takes every source: for the light path."""
    watch: TraceCapture | None = None
    """What is to be noted of the packets; None where no rule is traced."""


@dataclass(slots=True)
class _Draft:
    """What a batch asks for, held until all of it is known to work."""

    rings: dict[int, Ingress] = field(default_factory=dict)
    sockets: dict[EgressName, socket.socket] = field(default_factory=dict)
    pens: dict[Trace, TraceWriter] = field(default_factory=dict)

    def close(self) -> None:
        """Let all of it go."""
        for ingress in self.rings.values():
            ingress.ring.close()
        for sock in self.sockets.values():
            sock.close()


class Forwarding:
    """The state of a worker, and its compiled form."""

    def __init__(self, tally: CounterWriter, ring_octets: int) -> None:
        self.ingress: dict[int, Ingress] = {}
        self.egress = Egress(Routes([], []), [])
        self._tally = tally
        self._ring_octets = ring_octets
        self._sockets: dict[EgressName, socket.socket] = {}
        self._flows: dict[Flow, Entry] = {}
        self._pens: dict[Trace, TraceWriter] = {}
        self._own: NDArray[np.uint64] = np.empty(0, np.uint64)
        self.light = ScalarPath(self.egress.routes, [], frozenset(), tally)

    def is_own(self, origin: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which packets come from an address and port that this relay sends from."""
        if not len(self._own):
            return np.zeros(len(origin), np.bool_)
        return find(self._own, origin)[1]

    def apply(self, batch: BatchMessage, descriptors: Sequence[int]) -> None:
        """Carry out a batch, or raise Refusal and change nothing. It owns the descriptors in either case."""
        draft = self._prepared(batch, descriptors)
        for instruction in batch.instructions:
            self._commit(instruction, draft)
        self._compile()

    def _prepared(self, batch: BatchMessage, descriptors: Sequence[int]) -> _Draft:
        """Do all that can fail."""
        draft, unused = _Draft(), list(descriptors)
        try:
            for index, instruction in enumerate(batch.instructions):
                match instruction.action:
                    case Open(_, IngressName() as ingress):
                        draft.rings[ingress.ifindex] = self._opened(
                            index, ingress, instruction, unused.pop(0)
                        )
                    case Open(_, EgressName() as egress):
                        draft.sockets[egress] = _adopted(index, unused.pop(0))
                    case Open(_, Trace() as trace):
                        draft.pens[trace] = _pen(index, unused.pop(0))
        except Refusal:
            draft.close()
            for descriptor in unused:
                os.close(descriptor)
            raise
        return draft

    def _opened(self, index: int, ingress: IngressName, instruction: Instruction, descriptor: int) -> Ingress:
        row = instruction.rows[0]
        opened = _adopted(index, descriptor)
        try:
            ring = Ring(
                opened, ingress.frame_size, self._ring_octets, self._tally.bookmark(row), instruction.resume
            )
        except (OSError, ValueError) as error:
            opened.close()
            raise Refusal(index, f"cannot map the ring of link {ingress.ifindex}: {error}") from error
        return Ingress(ring, row, Fib({}))

    def _commit(self, instruction: Instruction, draft: _Draft) -> None:
        match instruction.action:
            case Open(_, IngressName() as ingress):
                self._close_ring(ingress.ifindex)
                self.ingress[ingress.ifindex] = draft.rings[ingress.ifindex]
            case Close(_, IngressName() as ingress):
                self._close_ring(ingress.ifindex)
            case Open(_, EgressName() as egress):
                self._close_egress(egress)
                self._sockets[egress] = draft.sockets[egress]
            case Close(_, EgressName() as egress):
                self._close_egress(egress)
            case SetFlow(_, flow, route):
                self._flows[flow] = Entry(route, instruction.rows)
            case DeleteFlow(_, flow):
                self._flows.pop(flow, None)
            case Open(_, Trace() as trace):
                self._pens[trace] = draft.pens[trace]
            case Close(_, Trace() as trace):
                self._pens.pop(trace, None)

    def _close_ring(self, ifindex: int) -> None:
        if ingress := self.ingress.pop(ifindex, None):
            ingress.ring.close()

    def _close_egress(self, egress: EgressName) -> None:
        if sock := self._sockets.pop(egress, None):
            sock.close()

    def _compile(self) -> None:
        """Make the arrays that packets are looked up in, then let the kernel bring the packets."""
        # The flows of a rule have one route: the rows of its counters tell it from all others.
        entries = {entry.rows: entry for entry in self._flows.values()}
        place = {rows: route for route, rows in enumerate(entries)}
        routes = Routes(list(entries.values()), list(self._sockets))
        descriptors = [sock.fileno() for sock in self._sockets.values()]
        own = {
            (address_to_number(address), port)
            for address, port in map(socket.socket.getsockname, self._sockets.values())
        }
        self._own = np.array(sorted(origin_key(*one) for one in own), np.uint64)
        self.egress = Egress(routes, descriptors)
        self.light = ScalarPath(routes, descriptors, frozenset(a << 16 | p for a, p in own), self._tally)
        flows: dict[int, dict[Flow, int]] = {ifindex: {} for ifindex in self.ingress}
        for flow, entry in self._flows.items():
            flows[flow.ifindex][flow] = place[entry.rows]
        captures = CaptureBuilder(self._pens, self._flows, routes, list(self._sockets))
        for ifindex, ingress in self.ingress.items():
            ingress.fib = Fib(flows[ifindex])
            ingress.watch = captures.build(flows[ifindex], ingress.fib)
            traced = ingress.watch.routes if ingress.watch else ()
            ingress.plain = {
                address_to_number(flow.destination) << 16 | flow.port: route
                for flow, route in flows[ifindex].items()
                if flow.source is None and route not in traced
            }
            hosts = [one for one in ingress.fib.destinations if not is_group_number(one)]
            ingress.ring.admit(socket_filters.udp_to(hosts))


def _pen(index: int, descriptor: int) -> TraceWriter:
    """Return what a trace is written with; the descriptor is closed."""
    try:
        return TraceWriter(descriptor)
    except (OSError, ValueError) as error:
        raise Refusal(index, f"what came with the instruction is no ring of a trace: {error}") from error
    finally:
        os.close(descriptor)


def _adopted(index: int, descriptor: int) -> socket.socket:
    """Return what came with an instruction as the socket that it must be."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise Refusal(index, f"what came with the instruction is no socket: {error.strerror}") from error
