"""The lookup: which route the packets of a link take, and which datagrams become of them.

Everything here is an array, built when the flows change and read for each batch of packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.addresses import address_to_number
from mcrelay.model.state import Dscp, Egress, Flow, Route, Ttl
from mcrelay.packet.headers import flow_key, origin_key

NO_ROUTE = -1
_ADDRESS = np.uint64(0xFFFF_FFFF)
FROM_PACKET = -1  # in a column of TTLs or TOS octets: the packet says it


def find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return a place in the sorted `keys` for each wanted one, and whether it is really there.

    There is at least one key.
    """
    if len(keys) == 1:
        return np.zeros(len(wanted), np.int64), wanted == keys[0]
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted


class Fib:
    """The flows of one link. A route is known by its place in the `Routes`."""

    def __init__(self, flows: Mapping[Flow, int]) -> None:
        keys = np.array([flow_key(address_to_number(f.destination), f.port) for f in flows], np.uint64)
        sources = np.array(
            [-1 if f.source is None else origin_key(address_to_number(f.source), 0) for f in flows], np.int64
        )
        routes = np.array(list(flows.values()), np.int64)
        # One entry for each destination and port. It has the route of every source, or none and then an
        # entry of its own for each source that is allowed.
        self._keys, representative, entry = np.unique(keys, return_index=True, return_inverse=True)
        self._any_route = np.full(len(self._keys), NO_ROUTE, np.int64)
        self._any_route[entry[sources < 0]] = routes[sources < 0]
        self._first_route = routes[representative]
        self._is_specific = self._any_route == NO_ROUTE
        has_specific = sources >= 0
        specific = (entry[has_specific].astype(np.uint64) << np.uint64(32)) | sources[has_specific].astype(
            np.uint64
        )
        order = np.argsort(specific)
        self._specific, self._specific_routes = specific[order], routes[has_specific][order]
        # The first route of each destination is that of its lowest port.
        by_port = sorted(flows, key=lambda flow: flow.port)
        of_destination = {address_to_number(flow.destination): flows[flow] for flow in reversed(by_port)}
        self._destinations = np.array(sorted(of_destination), np.uint64)
        self._destination_routes = np.array([of_destination[one] for one in sorted(of_destination)], np.int64)

    @property
    def destinations(self) -> list[int]:
        """The destination addresses of all flows, as numbers, ascending."""
        destinations: list[int] = self._destinations.tolist()
        return destinations

    def lookup(
        self, flow: NDArray[np.uint64], origin: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Return the route of each packet, NO_ROUTE where there is none, and where its source forbids it.

        `flow` and `origin` are as in `packet.Headers`. The second answer is None when no source is forbidden;
        a packet of a forbidden source has the route of the rule whose counter it belongs to.
        """
        if not len(self._keys):
            return np.full(len(flow), NO_ROUTE), None
        entry, found = find(self._keys, flow)
        route = self._any_route[entry]
        route[~found] = NO_ROUTE
        if not len(self._specific):
            return route, None
        check = np.flatnonzero(found & self._is_specific[entry])
        if not len(check):
            return route, None
        wanted = (entry[check].astype(np.uint64) << np.uint64(32)) | origin[check] & _ADDRESS
        place, allowed = find(self._specific, wanted)
        route[check] = np.where(allowed, self._specific_routes[place], self._first_route[entry[check]])
        forbidden = np.zeros(len(route), np.bool_)
        forbidden[check[~allowed]] = True
        return route, forbidden

    def route_of_destination(self, destination: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the first route of each destination whatever the port, for packets without a port."""
        if not len(self._keys):
            return np.full(len(destination), NO_ROUTE)
        place, found = find(self._destinations, destination.astype(np.uint64))
        return np.where(found, self._destination_routes[place], NO_ROUTE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A route with the rows of its counters: the rule's, and one for each output."""

    route: Route
    rows: tuple[int, ...]


class Routes:
    """All routes of a worker and their outputs, as columns.

    Outputs are sorted by egress socket, so that whoever sorts datagrams by output has them by socket, too.
    """

    def __init__(self, entries: Sequence[Entry], egress: Sequence[Egress]) -> None:
        place = {one: index for index, one in enumerate(egress)}
        outputs = [
            (place[output.egress], output, row, route)
            for route, entry in enumerate(entries)
            for output, row in zip(entry.route.outputs, entry.rows[1:], strict=True)
        ]
        order = sorted(range(len(outputs)), key=lambda index: outputs[index][0])
        rank = np.empty(len(outputs), np.int64)
        rank[order] = np.arange(len(outputs))

        self.rule_row = np.array([entry.rows[0] for entry in entries], np.int64)
        """Row of the rule's counters; shape (routes,)."""
        self.count = np.array([len(entry.route.outputs) for entry in entries], np.int64)
        """Number of outputs; shape (routes,)."""
        self.first = np.cumsum(self.count) - self.count
        """Where a route's outputs begin in `members`; shape (routes,)."""
        self.members = rank
        """Outputs, route by route; shape (outputs,)."""
        self.egress = np.array([outputs[index][0] for index in order], np.int64)
        """Egress socket of an output, ascending; shape (outputs,), like all that follow."""
        self.row = np.array([outputs[index][2] for index in order], np.int64)
        self.ttl = np.array([_ttl(outputs[index][1].ttl) for index in order], np.int64)
        self.tos = np.array([_tos(outputs[index][1].dscp) for index in order], np.int64)
        self.destinations = [
            (address_to_number(outputs[i][1].destination), outputs[i][1].port) for i in order
        ]
        self.sortable = np.int16 if len(entries) < 1 << 15 else np.int32
        """A type that holds all routes and NO_ROUTE; the smaller, the faster they are sorted."""
        self.has_ttl_from_packet = bool((self.ttl == FROM_PACKET).any())
        self.has_tos_from_packet = bool((self.tos == FROM_PACKET).any())

    def copies(self, route: NDArray[np.int64]) -> tuple[NDArray[Any] | None, NDArray[np.int64]]:
        """Return the datagrams that packets with these routes become: which packet, and which output.

        The first answer is None when each packet becomes one datagram, in the packets' order.
        """
        count = self.count[route]
        if (count == 1).all():
            return None, self.members[self.first[route]]
        packet = np.repeat(np.arange(len(route)), count)
        before = np.cumsum(count) - count
        within = np.arange(len(packet)) - before[packet]
        return packet, self.members[self.first[route][packet] + within]


def _ttl(ttl: Ttl) -> int:
    return FROM_PACKET if ttl == "decrement" else ttl


def _tos(dscp: Dscp) -> int:
    return FROM_PACKET if dscp == "copy" else dscp << 2
