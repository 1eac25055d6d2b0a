"""The array path, which relays the packets of a batch as numpy columns.

A batch is read, looked up, sent, counted and released in a few array operations. The scalar path takes the
packets before, if they are few.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.drops import Drop
from mcrelay.packet.fib import NO_ROUTE, RouteTable
from mcrelay.packet.frame import LENGTH
from mcrelay.packet.frame_columns import arrival_time
from mcrelay.packet.headers import Fault, Headers, mark_outgoing, read_headers
from mcrelay.packet.ipv4 import DSCP_MASK
from mcrelay.worker.batch import PacketBatch, RelayedPackets
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import BatchPayloads
from mcrelay.worker.forwarding import ActiveIngress, Forwarding
from mcrelay.worker.ring import Ring

# Enough to make numpy cheap per packet, and an eighth of a ring of 2048-octet frames.
MAX_BATCH_PACKETS = 2048

Column = NDArray[np.int64]

# A packet with a VLAN tag has the reason `no_rule`, and is counted for the link only.
_REASONS = {fault: Drop[fault.name] for fault in Fault if fault not in (Fault.NONE, Fault.TAGGED)}


class ArrayPath:
    """Relays the packets of a worker's links."""

    def __init__(self, forwarding: Forwarding, counters: CounterWriter) -> None:
        self._forwarding = forwarding
        self._counters = counters

    def relay(self, ingress: ActiveIngress) -> int:
        """Relay one batch of a link and return its number of packets; 0 if no packet is ready."""
        ring, ages = ingress.ring, self._forwarding.ages
        ages.has_stepped()
        count = ring.count_ready(MAX_BATCH_PACKETS)
        if not count:
            return 0
        frames = ring.words[ring.head : ring.head + count]
        packets = read_headers(frames)
        if ingress.has_outgoing:
            mark_outgoing(packets, frames)
        self._counters.add_link(ingress.row, {"packets": count, "octets": int(frames[:, LENGTH].sum())})
        is_stale = ages.find_stale(frames)
        time = arrival_time(frames[-1])
        route = self._look_up(ingress, packets, is_stale, time)
        relayed = None
        if (route != NO_ROUTE).any():
            relayed = self._send(ring, packets, route, time)
        if ingress.capture:
            ingress.capture.write_events(PacketBatch(frames, packets, route, relayed, is_stale))
        ring.release(count)
        if overruns := ring.read_overruns():
            self._counters.add_link(ingress.row, {Drop.OVERRUN: overruns})
        return count

    def _look_up(
        self, ingress: ActiveIngress, packets: Headers, is_stale: NDArray[np.bool_] | None, time: int
    ) -> Column:
        """Return the route of each packet, NO_ROUTE for a dropped packet, and count the dropped packets.

        `time` is the arrival of the last packet.
        """
        route, forbidden = ingress.fib.lookup(packets.destination, packets.source)
        is_unknown = route == NO_ROUTE
        if packets.fault is not None:
            is_faulty = packets.fault != Fault.NONE
            self._count_faults(ingress, packets.destination_address, packets.fault)
            self._count_tagged(ingress, packets, packets.fault == Fault.TAGGED, time)
            is_unknown &= ~is_faulty
            route[is_faulty] = NO_ROUTE
        if unknown := int(np.count_nonzero(is_unknown)):
            self._counters.add_link(ingress.row, {Drop.NO_RULE: unknown})
            self._forwarding.near_misses.count_unknown(ingress.ifindex, packets.destination[is_unknown], time)
        if forbidden is not None:
            self._drop(route, forbidden, Drop.SOURCE)
        if is_stale is not None:
            self._drop(route, is_stale, Drop.STALE)
        self._drop(route, self._forwarding.is_own(packets.source), Drop.OWN)
        return route

    def _drop(self, route: Column, is_dropped: NDArray[np.bool_], reason: Drop) -> None:
        if is_dropped.any():
            dropped = route[is_dropped & (route != NO_ROUTE)]
            self._counters.add_rule_drops(self._forwarding.sender.routes.rule_row[dropped], reason)
            route[is_dropped] = NO_ROUTE

    def _count_faults(
        self, ingress: ActiveIngress, address: NDArray[np.uint32], fault: NDArray[np.uint8]
    ) -> None:
        """Count the packets that have a fault, for a rule with their destination address or for the link."""
        owner = ingress.fib.route_of_address(address)
        for kind, reason in _REASONS.items():
            faulty = fault == kind
            of_rule = owner[faulty & (owner != NO_ROUTE)]
            self._counters.add_rule_drops(self._forwarding.sender.routes.rule_row[of_rule], reason)
            self._counters.add_link(ingress.row, {reason: int(faulty.sum()) - len(of_rule)})

    def _count_tagged(
        self, ingress: ActiveIngress, packets: Headers, is_tagged: NDArray[np.bool_], time: int
    ) -> None:
        if packets.vlan is not None and is_tagged.any():
            self._counters.add_link(ingress.row, {Drop.NO_RULE: int(is_tagged.sum())})
            destination, vlan = packets.destination[is_tagged], packets.vlan[is_tagged]
            self._forwarding.near_misses.count_tagged(ingress.ifindex, destination, vlan, time)

    def _send(self, ring: Ring, packets: Headers, route: Column, time: int) -> RelayedPackets:
        """Send the packets that have a route; `time` is as in `CounterWriter.add_relayed`."""
        sender = self._forwarding.sender
        chosen = _sort_routed(route.astype(sender.routes.sortable))
        address = ring.addresses[ring.head : ring.head + len(route)] + packets.payload
        payloads = BatchPayloads(
            route=route[chosen],
            address=address[chosen],
            length=packets.length[chosen],
            header=_header_for_outputs(sender.routes, packets, chosen),
        )
        sent = sender.send(payloads)
        self._counters.add_relayed(sent.runs, sender.routes.rule_row, packets.source_address[chosen], time)
        self._counters.add_sent(sent, sender.routes, payloads.length, time)
        return RelayedPackets(chosen, sent, sender.routes.fault)


def _sort_routed(route: NDArray[Any]) -> Column | slice:
    """Return the indexes of the packets that have a route, stably sorted by route."""
    if route[0] != NO_ROUTE and (route[1:] == route[0]).all():
        return slice(None)
    order = np.argsort(route, kind="stable")
    return order[np.searchsorted(route[order], 0) :]


def _header_for_outputs(routes: RouteTable, packets: Headers, chosen: Column | slice) -> Column | None:
    """Return the header fields that outputs copy from the chosen packets, as in `BatchPayloads.header`."""
    tos = packets.tos[chosen].astype(np.int64) & DSCP_MASK if routes.has_tos_from_packet else None
    if not routes.has_ttl_from_packet:
        return tos
    ttl = packets.ttl[chosen].astype(np.int64) << 8
    return ttl if tos is None else ttl | tos
