"""A lighter path for few packets: one by one in plain Python, where arrays would cost more than they save.

It takes only packets that are plain in every way, and leaves the rest to the arrays: there is one place
where packets are judged, and it is not here.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcrelay.linux.sendmmsg import Messages, sockaddrs
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import OTHER_ERRNO, SEND_ERRNOS
from mcrelay.packet.fib import FROM_PACKET, Routes
from mcrelay.packet.frame import GSO_TYPE, NETWORK_OFFSET, TP_STATUS_VLAN_VALID, VNET_HEADER
from mcrelay.packet.headers import IP_HEADER, UDP, UDP_HEADER
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.ring import Ring

FEW = 48  # packets; from about there on, arrays are cheaper
MOST_OUTPUTS = 8  # a route with more is left to the arrays

_FRAME = struct.Struct("=IIIHHII")  # struct tpacket2_hdr: status, lengths, offsets, time
_HEADERS = struct.Struct(">BBHHHBBHIIHHH")  # IP without options, and UDP up to its length
_IP_WORDS = struct.Struct(">10H")
_PLAIN_IP = 0x45  # version 4, no options
_FRAGMENT = 0x3FFF
_DSCP = 0xFC
_PAYLOAD = NETWORK_OFFSET + IP_HEADER + UDP_HEADER

_OCTETS = LINKS.column("octets")  # in every table the second column, after the packets
_LAST_TIME, _LAST_SOURCE = RULES.column("last_time"), RULES.column("last_source")
_TTL, _OTHER = OUTPUTS.column("ttl"), OUTPUTS.column(OTHER_ERRNO)


@dataclass(frozen=True, slots=True)
class PreparedOutput:
    """An output, ready to send: what is left to say is where the payload lies."""

    descriptor: int
    message: int
    """Its place among the prepared messages."""
    ttl: int
    tos: int
    """Fixed, or FROM_PACKET."""
    counts: int
    """Where the output's counters lie, in numbers of 64 bits."""


@dataclass(frozen=True, slots=True)
class PreparedRoute:
    """A route, ready to send."""

    counts: int
    """Where the rule's counters lie, in numbers of 64 bits."""
    ways: tuple[PreparedOutput, ...]


class ScalarPath:
    """The light path of a worker. `own` are its source addresses and ports (address << 16 | port)."""

    def __init__(
        self, routes: Routes, descriptors: Sequence[int], own: frozenset[int], tally: CounterWriter
    ) -> None:
        self._routes = routes
        self._descriptors = descriptors
        self._own = own
        self._counts = tally.numbers
        self._roads: dict[int, PreparedRoute | None] = {}
        self._messages = Messages(max(1, len(routes.row)))
        self._names = sockaddrs(routes.destinations)
        self._messages.prepare(self._names)
        self._error = {code: OUTPUTS.column(errno.errorcode[code]) for code in SEND_ERRNOS}

    def relay(self, ring: Ring, row: int, flows: Mapping[int, int]) -> int:
        """Relay packets while they are plain and few, and return how many that was.

        `row` is that of the link's counters; `flows` has the route of each destination (address << 16 | port)
        that takes every source.
        """
        done = 0
        while done < FEW and ring.is_ready(0):
            if not self._relay_one(ring, row, flows):
                break
            done += 1
        return done

    def _relay_one(self, ring: Ring, row: int, flows: Mapping[int, int]) -> bool:
        memory, at = ring.memory, ring.head * ring.frame_size
        status, length, captured, link, network, seconds, nanoseconds = _FRAME.unpack_from(memory, at)
        (version, tos, total, _, fragment, ttl, protocol, _, source, destination, source_port, port, size) = (
            _HEADERS.unpack_from(memory, at + NETWORK_OFFSET)
        )
        if (
            version != _PLAIN_IP
            or protocol != UDP
            or fragment & _FRAGMENT
            or status & TP_STATUS_VLAN_VALID
            or captured != length
            or total + (network - link) > length
            or not UDP_HEADER <= size <= total - IP_HEADER
            or memory[at + link - VNET_HEADER + GSO_TYPE]
            or sum(_IP_WORDS.unpack_from(memory, at + NETWORK_OFFSET)) % 0xFFFF
        ):
            return False
        route = flows.get(destination << 16 | port)
        if route is None or source << 16 | source_port in self._own:
            return False
        road = self._road(route)
        if road is None:
            return False

        counts, octets = self._counts, size - UDP_HEADER
        payload = ring.address + at + _PAYLOAD
        for way in road.ways:
            self._send(way, payload, octets, ttl, tos)
        rule = road.counts
        counts[rule] += 1
        counts[rule + _OCTETS] += octets
        counts[rule + _LAST_TIME] = seconds * 1_000_000_000 + nanoseconds
        counts[rule + _LAST_SOURCE] = source
        taken = LINKS.place(row, "packets")
        counts[taken] += 1
        counts[taken + _OCTETS] += length
        ring.release_one()
        return True

    def _send(self, way: PreparedOutput, payload: int, octets: int, ttl: int, tos: int) -> None:
        messages, counts = self._messages, self._counts
        if way.ttl == FROM_PACKET:
            if ttl <= 1:
                counts[way.counts + _TTL] += 1
                return
            messages.set_ttl(way.message, ttl - 1)
        if way.tos == FROM_PACKET:
            messages.set_tos(way.message, tos & _DSCP)
        code = messages.send_one(way.descriptor, way.message, payload, octets)
        if code:
            counts[way.counts + self._error.get(code, _OTHER)] += 1
        else:
            counts[way.counts] += 1
            counts[way.counts + _OCTETS] += octets

    def _road(self, route: int) -> PreparedRoute | None:
        """Return a route made ready; None where it has too many outputs for this path."""
        if route not in self._roads:
            self._roads[route] = self._made_ready(route)
        return self._roads[route]

    def _made_ready(self, route: int) -> PreparedRoute | None:
        routes = self._routes
        first, count = int(routes.first[route]), int(routes.count[route])
        if count > MOST_OUTPUTS:
            return None
        ways = []
        for output in routes.members[first : first + count].tolist():
            ttl, tos = int(routes.ttl[output]), int(routes.tos[output])
            self._messages.set_ttl(output, max(ttl, 0))
            self._messages.set_tos(output, max(tos, 0))
            descriptor = self._descriptors[int(routes.egress[output])]
            ways.append(
                PreparedOutput(
                    descriptor, output, ttl, tos, OUTPUTS.place(int(routes.row[output]), "packets")
                )
            )
        return PreparedRoute(RULES.place(int(routes.rule_row[route]), "packets"), tuple(ways))
