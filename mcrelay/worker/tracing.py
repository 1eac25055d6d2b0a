"""Notes what becomes of a traced rule's packets, and of those that nearly were such.

Nothing here runs while no rule is traced. What a trace costs is bounded: of packets beyond its allowance only
the number is noted.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.fib import NO_ROUTE, Entry, Fib, Routes, number
from mcrelay.frame import (
    CAPTURED,
    LENGTH,
    NANOSECONDS,
    NETWORK_OFFSET,
    SECONDS,
    STATUS,
    TP_STATUS_VLAN_VALID,
    VLAN,
)
from mcrelay.packet import Fault, Headers, link_octets
from mcrelay.state import Egress, Flow, Trace
from mcrelay.trace import (
    EXPIRED,
    MEMORY_SIZE,
    MOST_OUTCOMES,
    NO_VLAN,
    SENT,
    SLOT_SIZE,
    Allowance,
    Event,
    Head,
    Outcome,
    Verdict,
    Writer,
)
from mcrelay.worker.egress import Sent

Column = NDArray[np.int64]
IsOwn = Callable[[NDArray[np.uint64]], NDArray[np.bool_]]

_LONGEST_PAYLOAD = 0xFFFF
_VLAN_NUMBER = 0x0FFF  # of the tag control information (IEEE 802.1Q)
_VERDICTS = {
    Fault.TAGGED: Verdict.TAGGED,
    Fault.MALFORMED: Verdict.MALFORMED,
    Fault.OVERSIZE: Verdict.OVERSIZE,
    Fault.FRAGMENT: Verdict.FRAGMENT,
}


class Pen:
    """What a worker writes a trace with. The ring goes on where a dead predecessor stopped."""

    def __init__(self, descriptor: int) -> None:
        self._writer = Writer(memoryview(mmap.mmap(descriptor, MEMORY_SIZE)))
        self._allowance = Allowance()

    def chosen(self, candidates: Column, now: int) -> Column:
        """Return which of the candidates may be written; the others are counted as skipped."""
        granted = self._allowance.granted(len(candidates), now)
        if granted < len(candidates):
            self._writer.skip(len(candidates) - granted)
        return candidates[:granted]

    def write(self, event: Event) -> None:
        """Write an event."""
        self._writer.write(event)


@dataclass(frozen=True, slots=True)
class _Traced:
    """A traced rule on one link: its routes and destinations there."""

    pen: Pen
    routes: Column
    destinations: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class _Copies:
    """The outputs of a route in their order, and of each the first fields of its outcome."""

    outputs: list[int]
    names: list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Relayed:
    """The packets of a batch that were sent, in the order of their payloads, and what became of these."""

    packets: Column | slice
    sent: Sent

    def codes(self, packet: int) -> dict[int, int]:
        """Return what became of a packet's copies, by output, where they were not sent."""
        place = packet if isinstance(self.packets, slice) else int(np.flatnonzero(self.packets == packet)[0])
        unsent = (one for one in self.sent.unsent if one.first <= place < one.first + one.count)
        codes = {one.output: one.code for one in unsent}
        if expired := self.sent.expired:
            held = (expired.first <= place) & (place < expired.first + expired.count)
            codes.update((output, EXPIRED) for output in expired.output[held].tolist())
        return codes


@dataclass(frozen=True, slots=True)
class Batch:
    """The packets of a batch, and what became of those that were sent."""

    frames: NDArray[np.uint32]
    packets: Headers
    relayed: Relayed | None


class Watch:
    """The traced rules of one link, ready to be noted."""

    def __init__(
        self,
        ifindex: int,
        fib: Fib,
        rules: Sequence[_Traced],
        copies: Mapping[int, _Copies],
        is_own: IsOwn,
    ) -> None:
        self._ifindex, self._fib, self._rules = ifindex, fib, rules
        self._copies, self._is_own = copies, is_own
        self._destinations = np.concatenate([rule.destinations for rule in rules])

    @property
    def routes(self) -> frozenset[int]:
        """The routes of which every packet is to be noted."""
        return frozenset(self._copies)

    def note(self, batch: Batch) -> None:
        """Write the events of a batch, before its frames are given back."""
        near = np.flatnonzero(np.isin(batch.packets.destination, self._destinations))
        if not len(near):
            return
        verdict, route = self._judged(batch.packets, near)
        now = int(_times(batch.frames, near[-1:])[0])
        for rule in self._rules:
            is_event = (route == NO_ROUTE) & np.isin(batch.packets.destination[near], rule.destinations)
            is_event |= np.isin(route, rule.routes)
            noted = rule.pen.chosen(np.flatnonzero(is_event), now)
            if len(noted):
                for event in self._events(batch, near[noted], verdict[noted], route[noted]):
                    rule.pen.write(event)

    def _judged(self, packets: Headers, near: Column) -> tuple[Column, Column]:
        """Return the verdict on each of these packets, as it was reached, and its route if it is a rule's."""
        route, forbidden = self._fib.lookup(packets.flow[near], packets.origin[near])
        verdict = np.where(route == NO_ROUTE, int(Verdict.NO_RULE), int(Verdict.RELAYED))
        verdict[self._is_own(packets.origin[near]) & (route != NO_ROUTE)] = Verdict.OWN
        if forbidden is not None:
            verdict[forbidden] = Verdict.SOURCE
        if packets.fault is not None:
            fault = packets.fault[near]
            for one, its_verdict in _VERDICTS.items():
                verdict[fault == one] = its_verdict
            route[fault != Fault.NONE] = NO_ROUTE
        return verdict, route

    def _events(self, batch: Batch, rows: Column, verdict: Column, route: Column) -> Iterator[Event]:
        octets = batch.frames.view(np.uint8)
        kept = batch.frames[rows, CAPTURED].astype(np.int64) - link_octets(batch.frames)
        ends = NETWORK_OFFSET + np.clip(kept, 0, SLOT_SIZE)
        heads = self._heads(batch, rows, verdict)
        for head, row, end, way in zip(heads, rows.tolist(), ends.tolist(), route.tolist(), strict=True):
            outcomes = self._outcomes(batch, row, way) if head.verdict is Verdict.RELAYED else []
            packet = octets[row, NETWORK_OFFSET:end].tobytes()
            yield Event(head, tuple(outcomes[:MOST_OUTCOMES]), len(outcomes), packet)

    def _heads(self, batch: Batch, rows: Column, verdict: Column) -> Iterator[Head]:
        frames, packets = batch.frames, batch.packets
        columns = (
            _times(frames, rows),
            packets.source[rows],
            packets.destination[rows],
            frames[rows, LENGTH] - np.uint32(link_octets(frames)),
            np.clip(packets.length[rows], 0, _LONGEST_PAYLOAD),
            _ports(packets.origin[rows], 32),
            _ports(packets.flow[rows], 48),
            _vlans(frames, rows),
            verdict,
            packets.ttl[rows],
            packets.tos[rows],
        )
        for time, source, destination, *fields, judged, ttl, tos in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            yield Head._make((time, self._ifindex, source, destination, *fields, Verdict(judged), ttl, tos))

    def _outcomes(self, batch: Batch, row: int, route: int) -> list[Outcome]:
        """Return what became of each copy of a relayed packet; of very many, the failures come first."""
        copies = self._copies[route]
        codes = batch.relayed.codes(row) if batch.relayed else {}
        outcomes = [
            Outcome(*name, codes.get(output, SENT))
            for output, name in zip(copies.outputs, copies.names, strict=True)
        ]
        if len(outcomes) > MOST_OUTCOMES:
            outcomes.sort(key=lambda outcome: outcome.code == SENT)
        return outcomes


class Tracing:
    """The traces of a worker beside its flows, both as they are now."""

    def __init__(
        self, pens: Mapping[Trace, Pen], flows: Mapping[Flow, Entry], routes: Routes, egress: Sequence[Egress]
    ) -> None:
        self._pens = {trace.rule: pen for trace, pen in pens.items()}
        self._flows, self._routes, self._egress = flows, routes, egress

    def watch(self, places: Mapping[Flow, int], fib: Fib, is_own: IsOwn) -> Watch | None:
        """Return what is to be watched on a link with these flows and their routes; None if nothing is."""
        by_rule: dict[str, list[Flow]] = {}
        if self._pens:
            for flow in places:
                by_rule.setdefault(self._flows[flow].route.rule, []).append(flow)
        rules = [_traced(pen, by_rule[rule], places) for rule, pen in self._pens.items() if rule in by_rule]
        if not rules:
            return None
        (ifindex,) = {flow.ifindex for flow in places}
        copies = {
            route: _copies(route, self._routes, self._egress)
            for rule in rules
            for route in rule.routes.tolist()
        }
        return Watch(ifindex, fib, rules, copies, is_own)


def _traced(pen: Pen, flows: Sequence[Flow], places: Mapping[Flow, int]) -> _Traced:
    destinations = {number(flow.destination) for flow in flows}
    routes = {places[flow] for flow in flows}
    return _Traced(pen, np.array(sorted(routes), np.int64), np.array(sorted(destinations), np.uint32))


def _copies(route: int, routes: Routes, egress: Sequence[Egress]) -> _Copies:
    first = int(routes.first[route])
    outputs = routes.members[first : first + int(routes.count[route])].tolist()
    ifindexes = [egress[int(routes.egress[output])].ifindex for output in outputs]
    destinations = [routes.destinations[output] for output in outputs]
    return _Copies(
        outputs,
        [(address, ifindex, port) for ifindex, (address, port) in zip(ifindexes, destinations, strict=True)],
    )


def _ports(words: NDArray[np.uint64], place: int) -> NDArray[np.uint16]:
    """Return the ports that stand in words at that place, in the order of their octets on the wire."""
    ports: NDArray[np.uint16] = (words >> np.uint64(place)).astype(np.uint16).byteswap()
    return ports


def _times(frames: NDArray[np.uint32], rows: Column) -> Column:
    """Return when packets came, in nanoseconds."""
    nanoseconds: Column = frames[rows, SECONDS].astype(np.int64) * 1_000_000_000 + frames[rows, NANOSECONDS]
    return nanoseconds


def _vlans(frames: NDArray[np.uint32], rows: Column) -> Column:
    is_tagged = (frames[rows, STATUS] & TP_STATUS_VLAN_VALID) != 0
    vlans: Column = np.where(is_tagged, frames[rows, VLAN] & _VLAN_NUMBER, NO_VLAN)
    return vlans
