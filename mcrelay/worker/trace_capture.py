"""Captures trace events: the packets of traced rules, and packets that nearly match a traced rule.

This code runs only while a rule is traced. The rate limit of each trace bounds its cost, and packets beyond
the limit are only counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.addresses import address_to_number
from mcrelay.model.state import Egress, Flow, Trace
from mcrelay.packet.fib import NO_ROUTE, Fib, RouteEntry, RouteTable
from mcrelay.packet.frame import (
    CAPTURED,
    LENGTH,
    NETWORK_OFFSET,
)
from mcrelay.packet.frame_columns import arrival_times, link_octets
from mcrelay.packet.headers import Fault, Headers
from mcrelay.packet.keys import ports
from mcrelay.tracing.events import MAX_OUTCOMES, NO_VLAN, SENT, Event, Head, PacketVerdict, SendOutcome
from mcrelay.tracing.ring import SLOT_SIZE
from mcrelay.worker.batch import PacketBatch
from mcrelay.worker.trace_writer import TraceWriter

Column = NDArray[np.int64]

_LAST = np.array([-1])
_NONE_FAILED = np.empty((0, 4), np.int64)
_MAX_COMPARED_VALUES = 8  # wanted values that are compared one by one; np.isin is faster for more
_MAX_PAYLOAD_OCTETS = 0xFFFF
_VERDICTS = {fault: PacketVerdict[fault.name] for fault in Fault if fault is not Fault.NONE}


@dataclass(frozen=True, slots=True)
class TracedRule:
    """A traced rule on one link: the writer of its trace, its routes and its destination addresses there."""

    writer: TraceWriter
    routes: Column
    destinations: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class RouteOutcomes:
    """The outputs of a route in their order, and the outcomes of a packet that every output sends."""

    outputs: list[int]
    sent: tuple[SendOutcome, ...]


class TraceCapture:
    """Writes the trace events of one link."""

    def __init__(
        self,
        ifindex: int,
        fib: Fib,
        rules: Sequence[TracedRule],
        outcomes: Mapping[int, RouteOutcomes],
    ) -> None:
        self._ifindex, self._fib, self._rules, self._outcomes_of_route = ifindex, fib, rules, outcomes
        self._destinations = np.concatenate([rule.destinations for rule in rules])

    @property
    def routes(self) -> frozenset[int]:
        """The routes of the traced rules."""
        return frozenset(self._outcomes_of_route)

    def write_events(self, batch: PacketBatch) -> None:
        """Write the events of a batch. The caller releases the frames afterwards."""
        address = batch.packets.destination_address
        missed = np.flatnonzero((batch.route == NO_ROUTE) & _is_among(address, self._destinations))
        verdict_of_missed, owner = self._explain(batch, missed)
        verdict = np.full(len(batch.route), int(PacketVerdict.RELAYED))
        verdict[missed] = verdict_of_missed
        now = int(arrival_times(batch.frames, _LAST)[0])
        for rule in self._rules:
            is_near = _is_among(owner, rule.routes)
            is_near |= (owner == NO_ROUTE) & _is_among(address[missed], rule.destinations)
            relayed = np.flatnonzero(_is_among(batch.route, rule.routes))
            chosen = rule.writer.choose(_merge(relayed, missed[is_near]), now)
            if len(chosen):
                for event in self._events(batch, chosen, verdict[chosen]):
                    rule.writer.write(event)

    def _explain(self, batch: PacketBatch, missed: Column) -> tuple[Column, Column]:
        """Return the verdict on each missed packet, and the route of the rule that refused it or NO_ROUTE."""
        if not len(missed):
            return missed, missed
        packets = batch.packets
        owner, forbidden = self._fib.lookup(packets.destination[missed], packets.source[missed])
        verdict = np.where(owner == NO_ROUTE, int(PacketVerdict.NO_RULE), int(PacketVerdict.OWN))
        if batch.is_stale is not None:
            verdict[batch.is_stale[missed] & (owner != NO_ROUTE)] = PacketVerdict.STALE
        if forbidden is not None:
            verdict[forbidden] = PacketVerdict.SOURCE
        if packets.fault is not None:
            fault = packets.fault[missed]
            for kind, its_verdict in _VERDICTS.items():
                verdict[fault == kind] = its_verdict
            owner[fault != Fault.NONE] = NO_ROUTE
        return verdict, owner

    def _events(self, batch: PacketBatch, rows: Column, verdict: Column) -> Iterator[Event]:
        octets = batch.frames.view(np.uint8)
        starts = batch.packets.network_of(rows)
        ends = starts + np.clip(_octets_from(batch, rows, CAPTURED), 0, SLOT_SIZE)
        heads = self._heads(batch, rows, verdict)
        failures = batch.relayed.failures() if batch.relayed else _NONE_FAILED
        for head, row, start, end in zip(heads, rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
            outcomes = self._outcomes(batch, row, failures) if head.verdict is PacketVerdict.RELAYED else ()
            packet = octets[row, start:end].tobytes()
            yield Event(head, outcomes, len(outcomes), packet)

    def _heads(self, batch: PacketBatch, rows: Column, verdict: Column) -> Iterator[Head]:
        frames, packets = batch.frames, batch.packets
        columns = (
            arrival_times(frames, rows),
            packets.source_address[rows],
            packets.destination_address[rows],
            np.clip(_octets_from(batch, rows, LENGTH), 0, None),
            np.clip(packets.length[rows], 0, _MAX_PAYLOAD_OCTETS),
            ports(packets.source[rows]),
            ports(packets.destination[rows]),
            _vlans(packets, rows),
            verdict,
            packets.ttl[rows],
            packets.tos[rows],
        )
        for time, source, destination, *fields, its_verdict, ttl, tos in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            yield Head._make(
                (time, self._ifindex, source, destination, *fields, PacketVerdict(its_verdict), ttl, tos)
            )

    def _outcomes(self, batch: PacketBatch, row: int, failures: Column) -> tuple[SendOutcome, ...]:
        """Return the outcome at each output of a relayed packet; failures first if not all fit an event."""
        route = self._outcomes_of_route[int(batch.route[row])]
        if not len(failures):
            return route.sent
        assert batch.relayed is not None
        payload = batch.relayed.payload_index(row)
        of_packet = failures[(failures[:, 1] <= payload) & (payload < failures[:, 2])]
        codes = dict(of_packet[:, [0, 3]].tolist())
        outcomes = [
            outcome._replace(code=codes.get(output, SENT))
            for output, outcome in zip(route.outputs, route.sent, strict=True)
        ]
        if len(outcomes) > MAX_OUTCOMES:
            outcomes.sort(key=lambda outcome: outcome.code == SENT)
        return tuple(outcomes)


class CaptureBuilder:
    """Builds the trace captures of a worker's links from its traces, flows and routes."""

    def __init__(
        self,
        writers: Mapping[Trace, TraceWriter],
        entries: Mapping[Flow, RouteEntry],
        routes: RouteTable,
        egress: Sequence[Egress],
    ) -> None:
        self._writers = {trace.rule: writer for trace, writer in writers.items()}
        self._entries, self._routes, self._egress = entries, routes, egress

    def build(self, flows: Mapping[Flow, int], fib: Fib) -> TraceCapture | None:
        """Return the capture of one link, None if no rule of the link is traced.

        `flows` has the route of each flow of the link, and `fib` is their lookup.
        """
        by_rule: dict[str, list[Flow]] = {}
        if self._writers:
            for flow in flows:
                by_rule.setdefault(self._entries[flow].route.rule, []).append(flow)
        rules = [
            _traced_rule(writer, by_rule[rule], flows)
            for rule, writer in self._writers.items()
            if rule in by_rule
        ]
        if not rules:
            return None
        (ifindex,) = {flow.ifindex for flow in flows}
        outcomes = {route: self._outcomes(route) for rule in rules for route in rule.routes.tolist()}
        return TraceCapture(ifindex, fib, rules, outcomes)

    def _outcomes(self, route: int) -> RouteOutcomes:
        routes = self._routes
        first = int(routes.first[route])
        outputs = routes.members[first : first + int(routes.count[route])].tolist()
        ifindexes = [self._egress[int(routes.egress[output])].ifindex for output in outputs]
        destinations = [routes.destinations[output] for output in outputs]
        sent = (
            SendOutcome(address, ifindex, port, SENT)
            for ifindex, (address, port) in zip(ifindexes, destinations, strict=True)
        )
        return RouteOutcomes(outputs, tuple(sent))


def _traced_rule(writer: TraceWriter, flows: Sequence[Flow], routes: Mapping[Flow, int]) -> TracedRule:
    destinations = {address_to_number(flow.destination) for flow in flows}
    numbers = {routes[flow] for flow in flows}
    return TracedRule(writer, np.array(sorted(numbers), np.int64), np.array(sorted(destinations), np.uint32))


def _is_among(values: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of the values that are among the wanted values."""
    if len(wanted) > _MAX_COMPARED_VALUES:
        return np.isin(values, wanted)
    found = np.zeros(len(values), np.bool_)
    for wanted_value in wanted:
        found |= values == wanted_value
    return found


def _merge(rows: Column, others: Column) -> Column:
    """Return the rows of two ascending columns as one ascending column."""
    return np.sort(np.concatenate((rows, others))) if len(others) else rows


def _octets_from(batch: PacketBatch, rows: Column, word: int) -> Column:
    """Return the octets of packets from the IP header on; `word` is the one of the frame that counts them."""
    tags = batch.packets.network_of(rows) - NETWORK_OFFSET
    octets: Column = batch.frames[rows, word].astype(np.int64) - link_octets(batch.frames) - tags
    return octets


def _vlans(packets: Headers, rows: Column) -> Column:
    if packets.vlan is None:
        return np.full(len(rows), NO_VLAN)
    vlans = packets.vlan[rows].astype(np.int64)
    return np.where(vlans == 0, NO_VLAN, vlans)
