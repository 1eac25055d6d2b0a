"""The traces of a worker beside its flows: which rules are to be watched on which link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mcrelay.model.state import Egress, Flow, Trace
from mcrelay.packet.fib import Entry, Fib, Routes, number
from mcrelay.tracing.ring import SENT, Outcome
from mcrelay.worker.trace_capture import Copies, TraceCapture, TracedPackets
from mcrelay.worker.trace_writer import TraceWriter


class Tracing:
    """The traces of a worker beside its flows, both as they are now."""

    def __init__(
        self,
        pens: Mapping[Trace, TraceWriter],
        flows: Mapping[Flow, Entry],
        routes: Routes,
        egress: Sequence[Egress],
    ) -> None:
        self._pens = {trace.rule: pen for trace, pen in pens.items()}
        self._flows, self._routes, self._egress = flows, routes, egress

    def watch(self, places: Mapping[Flow, int], fib: Fib) -> TraceCapture | None:
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
        return TraceCapture(ifindex, fib, rules, copies)


def _traced(pen: TraceWriter, flows: Sequence[Flow], places: Mapping[Flow, int]) -> TracedPackets:
    destinations = {number(flow.destination) for flow in flows}
    routes = {places[flow] for flow in flows}
    return TracedPackets(pen, np.array(sorted(routes), np.int64), np.array(sorted(destinations), np.uint32))


def _copies(route: int, routes: Routes, egress: Sequence[Egress]) -> Copies:
    first = int(routes.first[route])
    outputs = routes.members[first : first + int(routes.count[route])].tolist()
    ifindexes = [egress[int(routes.egress[output])].ifindex for output in outputs]
    destinations = [routes.destinations[output] for output in outputs]
    sent = (
        Outcome(address, ifindex, port, SENT)
        for ifindex, (address, port) in zip(ifindexes, destinations, strict=True)
    )
    return Copies(outputs, tuple(sent))
