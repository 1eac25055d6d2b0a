"""The forwarding lookup: the route of each packet of a link, and the datagrams that a packet becomes.

Both are arrays, which are built when the flows change and read for each batch of packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.addresses import address_to_number
from mcrelay.model.links import LOOPBACK_IFINDEX
from mcrelay.model.outputs import Dscp, Ttl
from mcrelay.model.send_errors import FAULT_CODES, PathFault
from mcrelay.model.state import Egress, Flow, Route, RouteOutput
from mcrelay.packet.keys import (
    EndpointKey,
    EndpointKeys,
    endpoint_key,
    find,
    outgoing_key,
    pair_with_address,
)

NO_ROUTE = -1
NO_FAULT = 0
FROM_PACKET = -1  # in a column of TTLs or TOS octets: the value is copied from the packet


class Fib:
    """The flows of one link. A route is an index into the `RouteTable`.

    Packets that this host sends match the flows in `looped` alone.
    """

    def __init__(self, flows: Mapping[Flow, int], looped: Set[Flow] = frozenset()) -> None:
        matched = [(endpoint_key(flow.destination, flow.port), flow) for flow in flows]
        matched += [(outgoing_key(flow.destination, flow.port), flow) for flow in flows if flow in looped]
        keys = np.array([key for key, _ in matched], np.uint64)
        routes = np.array([flows[flow] for _, flow in matched], np.int64)
        has_source = np.array([flow.source is not None for _, flow in matched], np.bool_)
        sources = np.array(
            [endpoint_key(flow.source, 0) for _, flow in matched if flow.source is not None], np.uint64
        )
        # One entry for each destination and port. An entry has either one route for every source, or no such
        # route and a (entry, source) pair with a route for each allowed source.
        self._keys, representative, entry = np.unique(keys, return_index=True, return_inverse=True)
        self._any_source_route = np.full(len(self._keys), NO_ROUTE, np.int64)
        self._any_source_route[entry[~has_source]] = routes[~has_source]
        self._first_route = routes[representative]
        self._needs_source = self._any_source_route == NO_ROUTE
        pairs = pair_with_address(entry[has_source], sources)
        order = np.argsort(pairs)
        self._pairs, self._pair_routes = pairs[order], routes[has_source][order]
        # The first route of a destination address is the route of its lowest port.
        by_port = sorted(flows, key=lambda flow: flow.port)
        of_address = {address_to_number(flow.destination): flows[flow] for flow in reversed(by_port)}
        self._addresses = np.array(sorted(of_address), np.uint64)
        self._address_routes = np.array([of_address[address] for address in sorted(of_address)], np.int64)

    def any_source_routes(self) -> dict[EndpointKey, int]:
        """Return the route of each destination that accepts every source."""
        routes = zip(self._keys.tolist(), self._any_source_route.tolist(), strict=True)
        return {key: route for key, route in routes if route != NO_ROUTE}

    def lookup(
        self, destination: EndpointKeys, source: EndpointKeys
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Return the route of each of n packets, and a mask of the forbidden sources; both of shape (n,).

        The route is NO_ROUTE if no flow matches. A packet from a forbidden source has a route of the rule
        that counts the packet. The mask is None if no packet has a forbidden source.
        """
        if not len(self._keys):
            return np.full(len(destination), NO_ROUTE), None
        entry, found = find(self._keys, destination)
        route = self._any_source_route[entry]
        route[~found] = NO_ROUTE
        if not len(self._pairs):
            return route, None
        check = np.flatnonzero(found & self._needs_source[entry])
        if not len(check):
            return route, None
        index, allowed = find(self._pairs, pair_with_address(entry[check], source[check]))
        route[check] = np.where(allowed, self._pair_routes[index], self._first_route[entry[check]])
        forbidden = np.zeros(len(route), np.bool_)
        forbidden[check[~allowed]] = True
        return route, forbidden

    def route_of_address(self, address: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the first route of each destination address, for packets of unknown port; shape (n,)."""
        if not len(self._keys):
            return np.full(len(address), NO_ROUTE)
        index, found = find(self._addresses, address.astype(np.uint64))
        return np.where(found, self._address_routes[index], NO_ROUTE)


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route with the rows of its counters: the row of the rule, then one row for each output."""

    route: Route
    rows: tuple[int, ...]


class RouteTable:
    """All routes of a worker and their outputs, as columns.

    Outputs are sorted by egress socket, so that datagrams sorted by output are also sorted by socket.
    """

    def __init__(
        self,
        entries: Sequence[RouteEntry],
        egress: Sequence[Egress],
        flows: Mapping[Flow, RouteEntry] = MappingProxyType({}),
    ) -> None:
        socket_index = {socket: index for index, socket in enumerate(egress)}
        outputs = [
            (socket_index[output.egress], output, row, route)
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
        """Index of a route's first output in `members`; shape (routes,)."""
        self.members = rank
        """Outputs, route by route; shape (outputs,)."""
        self.is_loopback = np.array([socket.ifindex == LOOPBACK_IFINDEX for socket in egress], np.bool_)
        """A mask of the egress sockets that send through lo; shape (sockets,)."""
        self.egress = np.array([outputs[index][0] for index in order], np.int64)
        """Index of an output's egress socket, ascending; shape (outputs,)."""
        self.row = np.array([outputs[index][2] for index in order], np.int64)
        """Row of an output's counters; shape (outputs,)."""
        self.ttl = np.array([_ttl(outputs[index][1].ttl) for index in order], np.int64)
        """TTL of an output's datagrams, or FROM_PACKET; shape (outputs,)."""
        self.tos = np.array([_tos(outputs[index][1].dscp) for index in order], np.int64)
        """TOS octet of an output's datagrams, or FROM_PACKET; shape (outputs,)."""
        self.fault = np.array([_fault(outputs[index][1].fault) for index in order], np.int64)
        """Number of an output's fault (FAULT_CODES), or NO_FAULT; shape (outputs,)."""
        takers = [_row_of_taker(outputs[index][1], flows) for index in order]
        self.taker_row = np.array(takers, np.int64)
        """Row of the rule whose input an output sends to, NO_ROUTE if there is none; shape (outputs,)."""
        self.has_takers = bool((self.taker_row != NO_ROUTE).any())
        self.destinations = [
            (address_to_number(outputs[i][1].destination), outputs[i][1].port) for i in order
        ]
        """Address (as a number) and UDP port of each output."""
        self.sortable = np.int16 if len(entries) < 1 << 15 else np.int32
        """The smallest dtype that holds every route and NO_ROUTE: small numbers are sorted faster."""
        self.has_ttl_from_packet = bool((self.ttl == FROM_PACKET).any())
        self.has_tos_from_packet = bool((self.tos == FROM_PACKET).any())
        self.has_faults = bool((self.fault != NO_FAULT).any())

    def expand(self, route: NDArray[np.int64]) -> tuple[NDArray[Any] | None, NDArray[np.int64]]:
        """Return the datagrams that packets with these routes become, as (packet, output); shape (m,).

        `packet` is None if each packet becomes exactly one datagram, in the order of the packets.
        """
        count = self.count[route]
        if (count == 1).all():
            return None, self.members[self.first[route]]
        packet = np.repeat(np.arange(len(route)), count)
        before = np.cumsum(count) - count
        within = np.arange(len(packet)) - before[packet]
        return packet, self.members[self.first[route][packet] + within]


def _row_of_taker(output: RouteOutput, flows: Mapping[Flow, RouteEntry]) -> int:
    """Return the row of the rule whose input has the device and destination of an output, else NO_ROUTE.

    The relay does not take what it sends, and the ring of the input does not even get it. So it is counted
    for that rule where it is sent, except where the ring gets it: on the device lo, or with `loopback`.
    """
    egress = output.egress
    if egress.ifindex == LOOPBACK_IFINDEX:
        return NO_ROUTE
    for source in (None, egress.source):
        taker = flows.get(Flow(egress.ifindex, output.destination, output.port, source))
        if taker and not taker.route.loopback:
            return taker.rows[0]
    return NO_ROUTE


def _ttl(ttl: Ttl) -> int:
    return FROM_PACKET if ttl == "decrement" else ttl


def _tos(dscp: Dscp) -> int:
    return FROM_PACKET if dscp == "copy" else dscp << 2


def _fault(fault: PathFault | None) -> int:
    return FAULT_CODES[fault] if fault else NO_FAULT
