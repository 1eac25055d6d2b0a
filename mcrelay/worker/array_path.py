"""What happens to the packets of one batch: read, looked up, sent, counted, given back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.drops import Drop
from mcrelay.packet.fib import NO_ROUTE, Routes
from mcrelay.packet.frame import LENGTH, NANOSECONDS, SECONDS
from mcrelay.packet.headers import Fault, Headers, headers
from mcrelay.worker.batch import Batch, Relayed
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import Payloads
from mcrelay.worker.forwarding import Forwarding, Ingress
from mcrelay.worker.ring import Ring
from mcrelay.worker.scalar_path import FEW

BATCH = 2048  # frames at once: enough to make numpy cheap, and an eighth of a ring

Column = NDArray[np.int64]

_REASONS = {Fault.MALFORMED: Drop.MALFORMED, Fault.OVERSIZE: Drop.OVERSIZE, Fault.FRAGMENT: Drop.FRAGMENT}


class ArrayPath:
    """The path of packets through a worker."""

    def __init__(self, forwarding: Forwarding, tally: CounterWriter) -> None:
        self._forwarding = forwarding
        self._tally = tally

    def relay(self, ingress: Ingress) -> int:
        """Relay one batch of a link, and return how many packets that was."""
        ring = ingress.ring
        if not ring.is_ready(FEW):
            done = self._forwarding.light.relay(ring, ingress.row, ingress.plain)
            if not ring.is_ready(0):
                return done
        count = ring.ready(BATCH)
        if not count:
            return 0
        frames = ring.words[ring.head : ring.head + count]
        packets = headers(frames)
        self._tally.add_link(ingress.row, packets=count, octets=int(frames[:, LENGTH].sum()))
        route = self._looked_up(ingress, packets)
        relayed = None
        if (route != NO_ROUTE).any():
            time = int(frames[-1, SECONDS]) * 1_000_000_000 + int(frames[-1, NANOSECONDS])
            relayed = self._send(ring, packets, route, time)
        if ingress.watch:
            ingress.watch.capture(Batch(frames, packets, route, relayed))
        ring.release(count)
        return count

    def _looked_up(self, ingress: Ingress, packets: Headers) -> Column:
        """Return the route of each packet; those that have none are counted here."""
        route, forbidden = ingress.fib.lookup(packets.flow, packets.origin)
        is_unknown = route == NO_ROUTE
        if packets.fault is not None:
            is_faulty = packets.fault != Fault.NONE
            self._count_faults(ingress, packets.destination, packets.fault)
            is_unknown &= ~is_faulty
            route[is_faulty] = NO_ROUTE
        if unknown := int(np.count_nonzero(is_unknown)):
            self._tally.add_link(ingress.row, no_rule=unknown)
        if forbidden is not None:
            self._drop(route, forbidden, Drop.SOURCE)
        self._drop(route, self._forwarding.is_own(packets.origin), Drop.OWN)
        return route

    def _drop(self, route: Column, is_dropped: NDArray[np.bool_], reason: Drop) -> None:
        if is_dropped.any():
            dropped = route[is_dropped & (route != NO_ROUTE)]
            self._tally.add_rule_drops(self._forwarding.egress.routes.rule_row[dropped], reason)
            route[is_dropped] = NO_ROUTE

    def _count_faults(
        self, ingress: Ingress, destination: NDArray[np.uint32], fault: NDArray[np.uint8]
    ) -> None:
        """Count the packets that cannot be looked up, for the rule of their destination if it has one."""
        owner = ingress.fib.route_of_destination(destination)
        for kind, reason in _REASONS.items():
            faulty = fault == kind
            of_rule = owner[faulty & (owner != NO_ROUTE)]
            self._tally.add_rule_drops(self._forwarding.egress.routes.rule_row[of_rule], reason)
            self._tally.add_link(ingress.row, **{reason: int(faulty.sum()) - len(of_rule)})
        self._tally.add_link(ingress.row, no_rule=int((fault == Fault.TAGGED).sum()))

    def _send(self, ring: Ring, packets: Headers, route: Column, time: int) -> Relayed:
        """Send the packets that have a route, sorted by it."""
        egress = self._forwarding.egress
        chosen = _in_order(route.astype(egress.routes.sortable))
        address = ring.addresses[ring.head : ring.head + len(route)] + packets.payload
        payloads = Payloads(
            route=route[chosen],
            address=address[chosen],
            length=packets.length[chosen],
            header=_wanted_header(egress.routes, packets, chosen),
        )
        sent = egress.send(payloads)
        self._tally.add_relayed(sent.runs, egress.routes.rule_row, packets.source[chosen], time)
        self._tally.add_sent(sent, egress.routes.row, payloads.length)
        return Relayed(chosen, sent)


def _in_order(route: NDArray[Any]) -> Column | slice:
    """Return which packets have a route: in the order of the routes, those of each as they came."""
    if route[0] != NO_ROUTE and (route[1:] == route[0]).all():
        return slice(None)
    order = np.argsort(route, kind="stable")
    return order[np.searchsorted(route[order], 0) :]


def _wanted_header(routes: Routes, packets: Headers, chosen: Column | slice) -> Column | None:
    """Return what the outputs of these routes want of the packets' IP headers; see `Payloads.header`."""
    # The DSCP is copied; the two ECN bits belong to the path that ended here (RFC 3168).
    tos = packets.tos[chosen].astype(np.int64) & 0xFC if routes.has_tos_from_packet else None
    if not routes.has_ttl_from_packet:
        return tos
    ttl = packets.ttl[chosen].astype(np.int64) << 8
    return ttl if tos is None else ttl | tos
