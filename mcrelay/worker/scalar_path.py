"""The scalar path, which relays packets one by one in plain Python if they are few.

Array operations would cost more for few packets. The scalar path relays only plain packets of flows that
accept every source. It leaves all other packets to the array path, which also counts the drops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcrelay.linux.sendmmsg import Messages, sockaddrs
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import Drop
from mcrelay.packet.fib import FROM_PACKET, NO_ROUTE, RouteTable
from mcrelay.packet.ipv4 import DSCP_MASK
from mcrelay.packet.keys import EndpointKey
from mcrelay.packet.scalar import PAYLOAD_OFFSET, read_plain
from mcrelay.worker.counters import ERROR_COLUMNS, OTHER_ERROR_COLUMN, CounterWriter
from mcrelay.worker.packet_age import PacketAges
from mcrelay.worker.ring import Ring

MAX_SCALAR_PACKETS = 48  # ready packets; the array path is cheaper for more
MAX_SCALAR_OUTPUTS = 8  # outputs of a route; the array path is cheaper for more

_OCTETS = LINKS.column("octets")  # in every table the second column, after the packets
_LAST_TIME, _LAST_SOURCE = RULES.column("last_time"), RULES.column("last_source")
_TTL = OUTPUTS.column(Drop.TTL)


@dataclass(frozen=True, slots=True)
class PreparedOutput:
    """An output with a prepared message that lacks only the payload."""

    descriptor: int
    message: int
    """Index of the prepared message."""
    ttl: int
    tos: int
    """TTL and TOS octet of the message, or FROM_PACKET."""
    counts: int
    """Index of the output's first counter in `CounterWriter.counts`."""
    own: int
    """Index of `own` of the rule whose input gets the message, 0 if there is none."""


@dataclass(frozen=True, slots=True)
class PreparedRoute:
    """A route whose outputs are prepared."""

    counts: int
    """Index of the rule's first counter in `CounterWriter.counts`."""
    outputs: tuple[PreparedOutput, ...]
    faults: tuple[tuple[int, int], ...]
    """The outputs with a fault, to which nothing is sent: index of the first counter, column of the fault."""


class ScalarPath:
    """The scalar path of a worker. `own` has the endpoints from which the relay's outputs send."""

    def __init__(
        self,
        routes: RouteTable,
        descriptors: Sequence[int],
        own: frozenset[EndpointKey],
        counters: CounterWriter,
        ages: PacketAges,
    ) -> None:
        self._routes = routes
        self._descriptors = descriptors
        self._own = own
        self._counters, self._counts = counters, counters.counts
        self._ages = ages
        self._prepared: dict[int, PreparedRoute | None] = {}
        self._messages = Messages(max(1, len(routes.row)))
        self._names = sockaddrs(routes.destinations)
        self._messages.prepare(self._names)

    def relay(self, ring: Ring, row: int, routes: Mapping[EndpointKey, int]) -> int:
        """Relay up to MAX_SCALAR_PACKETS, stop at the first packet for the array path, and return the count.

        `row` is the row of the link's counters. `routes` has the route of each destination that accepts every
        source.
        """
        relayed, link = 0, LINKS.index(row, "packets")
        while relayed < MAX_SCALAR_PACKETS and ring.is_ready(0):
            if not self._relay_packet(ring, link, routes):
                break
            relayed += 1
        return relayed

    def _relay_packet(self, ring: Ring, link: int, routes: Mapping[EndpointKey, int]) -> bool:
        frame = ring.head * ring.frame_size
        packet = read_plain(ring.memory, frame)
        if packet is None:
            return False
        destination, source, ttl, tos, payload_octets, source_address, frame_octets, time = packet
        route = routes.get(destination)
        if route is None or source in self._own:
            return False
        max_age = self._ages.max_age
        if max_age is not None and self._ages.time_of_day() - time > max_age:
            return False
        prepared = self._prepare(route)
        if prepared is None:
            return False

        counts = self._counts
        payload = ring.address + frame + PAYLOAD_OFFSET
        for output in prepared.outputs:
            self._send(output, payload, payload_octets, ttl, tos, time)
        for output_counts, column in prepared.faults:
            self._counters.add_send_errors(output_counts, column, 1, time)
        rule = prepared.counts
        counts[rule] += 1
        counts[rule + _OCTETS] += payload_octets
        counts[rule + _LAST_TIME] = time
        counts[rule + _LAST_SOURCE] = source_address
        counts[link] += 1
        counts[link + _OCTETS] += frame_octets
        ring.release_one()
        return True

    def _send(self, output: PreparedOutput, payload: int, octets: int, ttl: int, tos: int, time: int) -> None:
        messages, counts = self._messages, self._counts
        if output.ttl == FROM_PACKET:
            if ttl <= 1:
                counts[output.counts + _TTL] += 1
                return
            messages.set_ttl(output.message, ttl - 1)
        if output.tos == FROM_PACKET:
            messages.set_tos(output.message, tos & DSCP_MASK)
        code = messages.send_one(output.descriptor, output.message, payload, octets)
        if code:
            column = ERROR_COLUMNS.get(code, OTHER_ERROR_COLUMN)
            self._counters.add_send_errors(output.counts, column, 1, time)
        else:
            counts[output.counts] += 1
            counts[output.counts + _OCTETS] += octets
            if output.own:
                counts[output.own] += 1

    def _prepare(self, route: int) -> PreparedRoute | None:
        """Return a prepared route; None if the route has more than MAX_SCALAR_OUTPUTS outputs."""
        if route not in self._prepared:
            self._prepared[route] = self._prepare_outputs(route)
        return self._prepared[route]

    def _prepare_outputs(self, route: int) -> PreparedRoute | None:
        routes = self._routes
        first, count = int(routes.first[route]), int(routes.count[route])
        if count > MAX_SCALAR_OUTPUTS:
            return None
        outputs, faults = [], []
        for output in routes.members[first : first + count].tolist():
            counts = OUTPUTS.index(int(routes.row[output]), "packets")
            if fault := int(routes.fault[output]):
                faults.append((counts, ERROR_COLUMNS[fault]))
                continue
            ttl, tos = int(routes.ttl[output]), int(routes.tos[output])
            self._messages.set_ttl(output, max(ttl, 0))
            self._messages.set_tos(output, max(tos, 0))
            descriptor = self._descriptors[int(routes.egress[output])]
            taker = int(routes.taker_row[output])
            own = 0 if taker == NO_ROUTE else RULES.index(taker, Drop.OWN)
            outputs.append(PreparedOutput(descriptor, output, ttl, tos, counts, own))
        rule = RULES.index(int(routes.rule_row[route]), "packets")
        return PreparedRoute(rule, tuple(outputs), tuple(faults))
