"""What happens to the packets of one batch: read, looked up, sent, counted, given back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrelay.counters import Drop
from mcrelay.fib import NO_ROUTE
from mcrelay.frame import LENGTH, NANOSECONDS, SECONDS
from mcrelay.packet import Fault, Headers, headers
from mcrelay.worker.egress import Payloads
from mcrelay.worker.forwarding import Forwarding, Ingress
from mcrelay.worker.light import FEW
from mcrelay.worker.ring import Ring
from mcrelay.worker.tally import Tally

BATCH = 1024  # frames at once: enough to make numpy cheap, few enough to stay near the CPU

Column = NDArray[np.int64]

_REASONS = {Fault.MALFORMED: Drop.MALFORMED, Fault.OVERSIZE: Drop.OVERSIZE, Fault.FRAGMENT: Drop.FRAGMENT}


class Relay:
    """The path of packets through a worker."""

    def __init__(self, forwarding: Forwarding, tally: Tally) -> None:
        self._forwarding = forwarding
        self._tally = tally

    def relay(self, ingress: Ingress) -> int:
        """Relay one batch of a link, and return how many packets that was."""
        ring = ingress.ring
        if not ring.is_ready(FEW):
            relayed = self._forwarding.light.relay(ring, ingress.row, ingress.plain)
            if not ring.is_ready(0):
                return relayed
        count = ring.ready(BATCH)
        if not count:
            return 0
        first = ring.head
        frames = ring.words[first : first + count]
        packets = headers(frames)
        self._tally.add_link(ingress.row, packets=count, octets=int(frames[:, LENGTH].sum()))
        chosen, route = self._looked_up(ingress, packets)
        if len(chosen):
            time = int(frames[-1, SECONDS]) * 1_000_000_000 + int(frames[-1, NANOSECONDS])
            self._send(ring, packets, chosen, route, time)
        ring.release(count)
        return count

    def _looked_up(self, ingress: Ingress, packets: Headers) -> tuple[Column, Column]:
        """Return which packets are to be sent, and the route of each; the others are counted here."""
        route, forbidden = ingress.fib.lookup(packets.destination, packets.destination_port, packets.source)
        is_unknown = route == NO_ROUTE
        if packets.fault.any():
            is_faulty = self._counted_faults(ingress, packets)
            is_unknown &= ~is_faulty
            route[is_faulty] = NO_ROUTE
        if is_unknown.any():
            self._tally.add_link(ingress.row, no_rule=int(is_unknown.sum()))
        if forbidden is not None:
            self._drop(route, forbidden, Drop.SOURCE)
        self._drop(route, self._forwarding.is_own(packets.source, packets.source_port), Drop.OWN)
        chosen = np.flatnonzero(route != NO_ROUTE)
        return chosen, route[chosen]

    def _drop(self, route: Column, is_dropped: NDArray[np.bool_], reason: Drop) -> None:
        if is_dropped.any():
            dropped = route[is_dropped & (route != NO_ROUTE)]
            self._tally.add_rule_drops(self._forwarding.egress.routes.rule_row[dropped], reason)
            route[is_dropped] = NO_ROUTE

    def _counted_faults(self, ingress: Ingress, packets: Headers) -> NDArray[np.bool_]:
        """Count the packets that cannot be looked up, for the rule of their destination if it has one."""
        owner = ingress.fib.route_of_destination(packets.destination)
        for fault, reason in _REASONS.items():
            faulty = packets.fault == fault
            of_rule = owner[faulty & (owner != NO_ROUTE)]
            self._tally.add_rule_drops(self._forwarding.egress.routes.rule_row[of_rule], reason)
            self._tally.add_link(ingress.row, **{reason: int(faulty.sum()) - len(of_rule)})
        self._tally.add_link(ingress.row, no_rule=int((packets.fault == Fault.TAGGED).sum()))
        is_faulty: NDArray[np.bool_] = packets.fault != Fault.NONE
        return is_faulty

    def _send(self, ring: Ring, packets: Headers, chosen: Column, route: Column, time: int) -> None:
        egress = self._forwarding.egress
        length = packets.length[chosen]
        place = (ring.head + chosen) * ring.octets.shape[1] + packets.payload[chosen]
        payloads = Payloads(
            address=(ring.address + place).astype(np.uint64),
            length=length,
            ttl=packets.ttl[chosen],
            tos=packets.tos[chosen],
        )
        sent = egress.send(payloads, route)
        self._tally.add_relayed(egress.routes.rule_row[route], length, packets.source[chosen], time)
        self._tally.add_sent(sent, egress.routes.row)
