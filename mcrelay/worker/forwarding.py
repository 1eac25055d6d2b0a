"""The state of a worker (rings, egress sockets, flows, traces), which batches of instructions change.

A batch is applied as a whole or not at all: everything that can fail is prepared before anything changes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux import socket_filters
from mcrelay.model.actions import Close, DeleteFlow, Open, SetFlow
from mcrelay.model.addresses import address_to_number, is_group_number
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.state import RETURN_WORKER, Egress, Flow, Ingress, MaxAge, Trace
from mcrelay.packet.fib import Fib, RouteEntry, RouteTable
from mcrelay.packet.keys import EndpointKey, EndpointKeys, endpoint_key, find
from mcrelay.protocol.worker import BatchMessage, Instruction
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import BatchSender
from mcrelay.worker.near_misses import NearMisses
from mcrelay.worker.packet_age import PacketAges
from mcrelay.worker.returns import ReturnCounter
from mcrelay.worker.ring import Ring
from mcrelay.worker.scalar_link import ScalarLink
from mcrelay.worker.scalar_path import ScalarPath
from mcrelay.worker.trace_capture import CaptureBuilder, TraceCapture
from mcrelay.worker.trace_writer import TraceWriter


class InstructionError(Exception):
    """An instruction of a batch that cannot be carried out; `index` is its index in the batch."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


@dataclass(slots=True)
class ActiveIngress:
    """A link that this worker reads: its ring, the row of its counters, and its lookup."""

    ifindex: int
    ring: Ring
    row: int
    fib: Fib
    any_source_routes: Mapping[EndpointKey, int] = field(default_factory=dict)
    """The route of each destination that accepts every source and is not traced, for the scalar path."""
    capture: TraceCapture | None = None
    """None if no rule of the link is traced."""
    has_outgoing: bool = False
    """True once the ring may have packets that this host sends."""


@dataclass(slots=True)
class _PreparedResources:
    """The resources that a batch opens, kept apart until the whole batch is prepared."""

    ingress: dict[int, ActiveIngress] = field(default_factory=dict)
    sockets: dict[Egress, socket.socket] = field(default_factory=dict)
    return_sockets: dict[Egress, socket.socket] = field(default_factory=dict)
    trace_writers: dict[Trace, TraceWriter] = field(default_factory=dict)

    def close(self) -> None:
        """Close all resources."""
        for ingress in self.ingress.values():
            ingress.ring.close()
        for sock in (*self.sockets.values(), *self.return_sockets.values()):
            sock.close()


class Forwarding:
    """The state of a worker, and the tables compiled from it."""

    def __init__(self, counters: CounterWriter, ring_octets: int) -> None:
        self.ingress: dict[int, ActiveIngress] = {}
        """The open links by ifindex."""
        self.sender = BatchSender(RouteTable([], []), [])
        self.ages = PacketAges()
        self.near_misses = NearMisses({}, counters)
        self._counters = counters
        self._ring_octets = ring_octets
        self._sockets: dict[Egress, socket.socket] = {}
        self._return_sockets: dict[Egress, socket.socket] = {}
        self._flows: dict[Flow, RouteEntry] = {}
        self._trace_writers: dict[Trace, TraceWriter] = {}
        self._own: EndpointKeys = np.empty(0, np.uint64)
        self.scalar_path = ScalarPath(self.sender.routes, [], frozenset(), counters)
        self.returns = ReturnCounter([], {}, counters)

    @property
    def return_sockets(self) -> Collection[socket.socket]:
        """The sockets that get what comes back to the ports of the egress sockets."""
        return self._return_sockets.values()

    def scalar_link(self, ingress: ActiveIngress) -> ScalarLink:
        """Return what relays few packets of a link, until the next batch of instructions."""
        return ScalarLink(
            self.scalar_path, ingress.ring, ingress.row, ingress.any_source_routes, self._counters, self.ages
        )

    def is_own(self, source: EndpointKeys) -> NDArray[np.bool_]:
        """Return a mask of the sources from which an output of this relay sends; shape (n,)."""
        if not len(self._own):
            return np.zeros(len(source), np.bool_)
        return find(self._own, source)[1]

    def apply(self, batch: BatchMessage, descriptors: Sequence[int]) -> None:
        """Carry out a batch. Takes ownership of the descriptors, even if it fails.

        Raises InstructionError, and changes nothing, if an instruction cannot be carried out.
        """
        prepared = self._prepare(batch, descriptors)
        for instruction in batch.instructions:
            self._commit(instruction, prepared)
        self._compile()

    def _prepare(self, batch: BatchMessage, descriptors: Sequence[int]) -> _PreparedResources:
        """Open the resources of a batch. If one fails, closes all descriptors and raises InstructionError."""
        prepared, unused = _PreparedResources(), list(descriptors)
        try:
            for index, instruction in enumerate(batch.instructions):
                match instruction.action:
                    case Open(_, Ingress() as ingress):
                        opened = self._open_ingress(index, ingress, instruction, unused.pop(0))
                        prepared.ingress[ingress.ifindex] = opened
                    case Open(worker, Egress() as egress):
                        prepared.sockets[egress] = _adopt_socket(index, unused.pop(0))
                        if worker == RETURN_WORKER:
                            prepared.return_sockets[egress] = _adopt_socket(index, unused.pop(0))
                    case Open(_, Trace() as trace):
                        prepared.trace_writers[trace] = _open_trace_writer(index, unused.pop(0))
        except InstructionError:
            prepared.close()
            for descriptor in unused:
                os.close(descriptor)
            raise
        return prepared

    def _open_ingress(
        self, index: int, ingress: Ingress, instruction: Instruction, descriptor: int
    ) -> ActiveIngress:
        row = instruction.rows[0]
        sock = _adopt_socket(index, descriptor)
        saved_head = self._counters.saved_head(row)
        try:
            ring = Ring(sock, ingress.frame_size, self._ring_octets, saved_head, instruction.resume)
        except (OSError, ValueError) as error:
            sock.close()
            reason = f"cannot map the ring of link {ingress.ifindex}: {error}"
            raise InstructionError(index, reason) from error
        return ActiveIngress(ingress.ifindex, ring, row, Fib({}))

    def _commit(self, instruction: Instruction, prepared: _PreparedResources) -> None:
        match instruction.action:
            case Open(_, Ingress() as ingress):
                self._close_ring(ingress.ifindex)
                self.ingress[ingress.ifindex] = prepared.ingress[ingress.ifindex]
            case Close(_, Ingress() as ingress):
                self._close_ring(ingress.ifindex)
            case Open(_, MaxAge(nanoseconds)):
                self.ages.max_age = nanoseconds
            case Close(_, MaxAge()):
                self.ages.max_age = None
            case Open(_, Egress() as egress):
                self._close_egress(egress)
                self._sockets[egress] = prepared.sockets[egress]
                if returning := prepared.return_sockets.get(egress):
                    self._return_sockets[egress] = returning
            case Close(_, Egress() as egress):
                self._close_egress(egress)
            case SetFlow(_, flow, route):
                self._flows[flow] = RouteEntry(route, instruction.rows)
            case DeleteFlow(_, flow):
                self._flows.pop(flow, None)
            case Open(_, Trace() as trace):
                self._trace_writers[trace] = prepared.trace_writers[trace]
            case Close(_, Trace() as trace):
                self._trace_writers.pop(trace, None)

    def _close_ring(self, ifindex: int) -> None:
        if ingress := self.ingress.pop(ifindex, None):
            ingress.ring.close()

    def _close_egress(self, egress: Egress) -> None:
        for sockets in (self._sockets, self._return_sockets):
            if sock := sockets.pop(egress, None):
                sock.close()

    def _compile(self) -> None:
        """Build the tables that packets are looked up in, then set the packet filter of each ring."""
        # All flows of a rule have one route, which the rows of its counters identify.
        entries = {entry.rows: entry for entry in self._flows.values()}
        index = {rows: route for route, rows in enumerate(entries)}
        routes = RouteTable(list(entries.values()), list(self._sockets), self._flows)
        descriptors = [sock.fileno() for sock in self._sockets.values()]
        names = {egress: sock.getsockname() for egress, sock in self._sockets.items()}
        own = frozenset(endpoint_key(*name) for name in names.values())
        self._own = np.array(sorted(own), np.uint64)
        self.sender = BatchSender(routes, descriptors)
        self.scalar_path = ScalarPath(routes, descriptors, own, self._counters)
        ports = {egress: port for egress, (_, port) in names.items()}
        self.returns = ReturnCounter(entries.values(), ports, self._counters)
        flows: dict[int, dict[Flow, int]] = {ifindex: {} for ifindex in self.ingress}
        for flow, entry in self._flows.items():
            flows[flow.ifindex][flow] = index[entry.rows]
        self.near_misses = NearMisses(
            {flow: entry.rows[0] for flow, entry in self._flows.items()}, self._counters
        )
        # The packets of a unicast input that come in on another link are near misses there.
        destinations = {address_to_number(flow.destination) for flow in self._flows}
        hosts = {address for address in destinations if not is_group_number(address)}
        captures = CaptureBuilder(self._trace_writers, self._flows, routes, list(self._sockets))
        for ifindex, ingress in self.ingress.items():
            looped = {flow for flow in flows[ifindex] if self._flows[flow].route.loopback}
            ingress.has_outgoing |= bool(looped)
            ingress.fib = Fib(flows[ifindex], looped)
            ingress.capture = captures.build(flows[ifindex], ingress.fib)
            traced = ingress.capture.routes if ingress.capture else frozenset()
            ingress.any_source_routes = {
                key: route for key, route in ingress.fib.any_source_routes().items() if route not in traced
            }
            groups = {address_to_number(flow.destination) for flow in looped}
            ingress.ring.attach_filter(socket_filters.udp_to(hosts, groups), takes_outgoing=bool(looped))


def _open_trace_writer(index: int, descriptor: int) -> TraceWriter:
    """Return the writer of a trace, and close the descriptor. Raises InstructionError if it is not a ring."""
    try:
        return TraceWriter(descriptor)
    except (OSError, ValueError) as error:
        reason = f"the descriptor of the instruction is not the ring of a trace: {error}"
        raise InstructionError(index, reason) from error
    finally:
        os.close(descriptor)


def _adopt_socket(index: int, descriptor: int) -> socket.socket:
    """Return the socket of a descriptor. Raises InstructionError, and closes it, if it is not a socket."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        reason = f"the descriptor of the instruction is not a socket: {format_os_error(error)}"
        raise InstructionError(index, reason) from error
