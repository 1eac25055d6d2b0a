"""The scalar path, which relays packets in plain Python if they are few.

Array operations would cost more for few packets. The scalar path relays only plain packets of flows that
accept every source. It leaves all other packets to the array path, which also counts the drops.

A worker that wakes up for one packet has cold caches, so it should do little. The first packet of a microflow
is read in full; for the next ones, a comparison shows that they differ only in what is checked then: their
checksums and age. Consecutive packets of a microflow leave in one message.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from socket import MSG_DONTWAIT

from mcrelay.linux import sendmmsg
from mcrelay.linux.sendmmsg import MAX_SEGMENTED_OCTETS, MAX_SEGMENTS, MessageFailure, Messages, sockaddrs
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import Drop
from mcrelay.packet.fib import FROM_PACKET, NO_ROUTE, RouteTable
from mcrelay.packet.frame import CHECKSUM_VOUCHED, TP_STATUS_LOSING, TP_STATUS_USER
from mcrelay.packet.ipv4 import CHECKSUM_MODULUS, DSCP_MASK, UDP_HEADER
from mcrelay.packet.keys import EndpointKey
from mcrelay.packet.scalar import (
    MICROFLOW,
    PAYLOAD_OFFSET,
    MicroflowKey,
    is_intact,
    read_plain,
    sum_common_halves,
)
from mcrelay.worker.counters import ERROR_COLUMNS, OTHER_ERROR_COLUMN, CounterWriter
from mcrelay.worker.packet_age import PacketAges
from mcrelay.worker.ring import Ring

MAX_SCALAR_PACKETS = 48  # ready packets; the array path is cheaper for more
MAX_SCALAR_RUN_PACKETS = 128  # the same, if consecutive packets leave in one message
MAX_SCALAR_TURN = 1024  # packets, before other links and the supervisor have their turn
MAX_SCALAR_OUTPUTS = 8  # outputs of a route; the array path is cheaper for more
MAX_MICROFLOWS = 4096  # of a link, whose packets are known; then they are forgotten

_OCTETS = LINKS.column("octets")  # in every table the second column, after the packets
_LAST_TIME, _LAST_SOURCE = RULES.column("last_time"), RULES.column("last_source")


@dataclass(frozen=True, slots=True)
class PreparedOutput:
    """An output with a prepared message that lacks only the payloads."""

    message: int
    """Index of the prepared message."""
    copies_ttl: bool
    copies_tos: bool
    counts: int
    """Index of the output's first counter in `CounterWriter.counts`."""
    own: int
    """Index of `own` of the rule whose input gets the message, 0 if there is none."""


@dataclass(frozen=True, slots=True)
class Span:
    """`count` consecutive messages, from `first` on, that leave through one egress socket."""

    descriptor: int
    place: ctypes.c_void_p
    """Memory address of the first one."""
    first: int
    count: int


@dataclass(slots=True)
class PreparedRoute:
    """A route whose outputs are prepared."""

    counts: int
    """Index of the rule's first counter in `CounterWriter.counts`."""
    outputs: tuple[PreparedOutput, ...]
    spans: tuple[Span, ...]
    copying: tuple[PreparedOutput, ...]
    """The outputs that copy TTL or TOS."""
    faults: tuple[tuple[int, int], ...]
    """The outputs with a fault, to which nothing is sent: index of the first counter, column of the fault."""
    run: int = 0
    """What the messages take at present: number << 16 | length of payloads, 0 for one payload."""


@dataclass(frozen=True, slots=True)
class Microflow:
    """Packets that differ in time, identification, checksums and payload only."""

    route: PreparedRoute
    header_sum: int
    """Sum of the IP header, as of `sum_common_halves`."""
    ttl: int
    tos: int
    octets: int
    """Octets of UDP payload."""
    frame_octets: int
    source_address: int
    max_run: int
    """Number of packets that one message may take."""


@dataclass(frozen=True, slots=True)
class ScalarLink:
    """A link: the index of its first counter in `CounterWriter.counts`, and the known microflows."""

    counts: int
    microflows: dict[MicroflowKey, Microflow] = field(default_factory=dict)


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
        self._links: dict[int, ScalarLink] = {}
        self._messages = Messages(max(MAX_SEGMENTS, len(routes.row)))
        self._iovec = self._messages.iovec_words
        self._names = sockaddrs(routes.destinations)
        self._messages.prepare(self._names)
        # The longest payload that each socket sends in segments, if its device refused longer ones. It is 0
        # for lo, whose ring would get the segments as one super-packet.
        self._max_segment_octets = {descriptors[at]: 0 for at in routes.is_loopback.nonzero()[0].tolist()}

    def relay(self, ring: Ring, row: int, routes: Mapping[EndpointKey, int]) -> bool:
        """Relay the packets of a link; return whether none is left.

        Else the array path takes the next packet: it is not plain, has no route here, is stale, follows
        dropped packets, or is the first of many. `row` is the row of the link's counters. `routes` has the
        route of each destination that accepts every source.
        """
        oldest = self._ages.oldest_fresh()
        if oldest is None:
            return False
        link = self._links.get(row) or self._add_link(row)
        known, iovec, memory, size = link.microflows, self._iovec, ring.memory, ring.frame_size
        octets, payload = len(memory), ring.address + PAYLOAD_OFFSET
        frame, relayed, is_left = ring.head * size, 0, False
        while memory[frame] & TP_STATUS_USER and not is_left:
            flow, count, latest = None, 0, 0
            while memory[frame] & TP_STATUS_USER:
                status, sizes, seconds, nanoseconds, start, number, middle, checksum, end, udp_checksum = (
                    MICROFLOW.unpack_from(memory, frame)
                )
                key = (sizes, start, middle, end)
                found = known.get(key) or self._learn(ring, frame, routes, known, key)
                time = seconds * 1_000_000_000 + nanoseconds
                if (
                    found is None
                    or (found.header_sum + number + checksum) % CHECKSUM_MODULUS
                    or not (
                        status & CHECKSUM_VOUCHED
                        or udp_checksum == 0
                        or is_intact(memory, frame, found.octets + UDP_HEADER)
                    )
                    or status & TP_STATUS_LOSING
                    or time < oldest
                ):
                    is_left = True
                    break
                if flow is None:
                    flow = found
                elif found is not flow or count == flow.max_run:
                    break
                elif count == 1 and ring.is_ready(MAX_SCALAR_RUN_PACKETS):
                    return False
                iovec[2 * count] = payload + frame
                iovec[2 * count + 1] = found.octets
                count, latest, frame = count + 1, time, (frame + size) % octets
            if flow is not None:
                self._relay_run(ring, link, flow, count, latest)
                relayed += count
            if memory[frame] & TP_STATUS_USER and not is_left:
                many = MAX_SCALAR_PACKETS if count == 1 else MAX_SCALAR_RUN_PACKETS
                is_left = relayed > MAX_SCALAR_TURN or ring.is_ready(many)
        return not is_left

    def _add_link(self, row: int) -> ScalarLink:
        link = self._links[row] = ScalarLink(LINKS.index(row, "packets"))
        return link

    def _learn(
        self,
        ring: Ring,
        frame: int,
        routes: Mapping[EndpointKey, int],
        known: dict[MicroflowKey, Microflow],
        key: MicroflowKey,
    ) -> Microflow | None:
        """Add the microflow of a packet to `known`, and return it; None if the array path must take it."""
        packet = read_plain(ring.memory, frame)
        if packet is None:
            return None
        destination, source, ttl, tos, octets, source_address, frame_octets, _ = packet
        route = routes.get(destination)
        if route is None or source in self._own:
            return None
        prepared = self._prepare(route)
        if prepared is None or (ttl <= 1 and any(output.copies_ttl for output in prepared.copying)):
            return None
        if len(known) >= MAX_MICROFLOWS:
            known.clear()
        flow = known[key] = Microflow(
            prepared,
            sum_common_halves(ring.memory, frame),
            ttl,
            tos & DSCP_MASK,
            octets,
            frame_octets,
            source_address,
            min(self._max_run(prepared, octets), len(ring) // 2),
        )
        return flow

    def _max_run(self, route: PreparedRoute, octets: int) -> int:
        """Return how many payloads of a length one message to each output of a route may take."""
        limits = [self._max_segment_octets.get(span.descriptor, MAX_SEGMENTED_OCTETS) for span in route.spans]
        if not 0 < octets <= min(limits, default=0):
            return 1
        return min(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // octets)

    def _relay_run(self, ring: Ring, link: ScalarLink, flow: Microflow, count: int, time: int) -> None:
        """Send, count and release `count` packets of a microflow; `time` is the arrival of the last one."""
        route, counts, octets = flow.route, self._counts, count * flow.octets
        if (run := count << 16 | flow.octets if count > 1 else 0) != route.run:
            route.run = run
            for span in route.spans:
                self._messages.set_run(span.first, span.first + span.count, count, flow.octets)
        if route.copying:
            self._copy_header(flow)
        failed: Counter[int] | None = None
        for span in route.spans:
            sent = sendmmsg.send_quickly(span.descriptor, span.place, span.count, MSG_DONTWAIT)
            if sent != span.count:
                failed = (failed or Counter()) + self._send_rest(route, span, sent, time)
        for output in route.outputs:
            packets = count - failed[output.message] if failed else count
            if packets:
                counts[output.counts] += packets
                counts[output.counts + _OCTETS] += packets * flow.octets
                if output.own:
                    counts[output.own] += packets
        for output_counts, column in route.faults:
            self._counters.add_send_errors(output_counts, column, count, time)
        rule = route.counts
        counts[rule] += count
        counts[rule + _OCTETS] += octets
        counts[rule + _LAST_TIME] = time
        counts[rule + _LAST_SOURCE] = flow.source_address
        counts[link.counts] += count
        counts[link.counts + _OCTETS] += count * flow.frame_octets
        ring.release_few(count)

    def _copy_header(self, flow: Microflow) -> None:
        """Set TTL and TOS of the messages that copy them."""
        for output in flow.route.copying:
            if output.copies_ttl:
                self._messages.set_ttl(output.message, flow.ttl - 1)
            if output.copies_tos:
                self._messages.set_tos(output.message, flow.tos)

    def _send_rest(self, route: PreparedRoute, span: Span, sent: int, time: int) -> Counter[int]:
        """Send the messages of a span that were not sent, and return the datagrams that failed by message."""
        messages, end = self._messages, span.first + span.count
        failures = messages.send(span.descriptor, span.first + max(sent, 0), end)
        if messages.refused_segment is not None:
            self._max_segment_octets[span.descriptor] = messages.refused_segment - 1
            self._links.clear()
            messages.refused_segment = None
        return self._count_failures(route, failures, time)

    def _count_failures(
        self, route: PreparedRoute, failures: Sequence[MessageFailure], time: int
    ) -> Counter[int]:
        """Count the errors, and return the number of datagrams that failed by message."""
        index = {output.message: output.counts for output in route.outputs}
        failed: Counter[int] = Counter()
        for failure in failures:
            column = ERROR_COLUMNS.get(failure.code, OTHER_ERROR_COLUMN)
            self._counters.add_send_errors(index[failure.message], column, failure.datagrams, time)
            failed[failure.message] += failure.datagrams
        return failed

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
            taker = int(routes.taker_row[output])
            own = 0 if taker == NO_ROUTE else RULES.index(taker, Drop.OWN)
            outputs.append(PreparedOutput(output, ttl == FROM_PACKET, tos == FROM_PACKET, counts, own))
        rule = RULES.index(int(routes.rule_row[route]), "packets")
        copying = tuple(output for output in outputs if output.copies_ttl or output.copies_tos)
        return PreparedRoute(rule, tuple(outputs), self._spans(outputs), copying, tuple(faults))

    def _spans(self, outputs: Sequence[PreparedOutput]) -> tuple[Span, ...]:
        """Return the messages of outputs, joined where they are consecutive and leave through one socket."""
        spans: list[Span] = []
        for message in sorted(output.message for output in outputs):
            descriptor = self._descriptors[int(self._routes.egress[message])]
            if spans and (spans[-1].descriptor, spans[-1].first + spans[-1].count) == (descriptor, message):
                spans[-1] = replace(spans[-1], count=spans[-1].count + 1)
            else:
                spans.append(Span(descriptor, self._messages.place(message), message, 1))
        return tuple(spans)
