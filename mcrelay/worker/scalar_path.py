"""The scalar path of a worker: its routes prepared for few packets, and what sends and counts them.

worker/scalar_link.py reads the packets of a link, and says when they take this path.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from socket import MSG_DONTWAIT
from typing import NamedTuple

from mcrelay.linux import sendmmsg
from mcrelay.linux.sendmmsg import MAX_SEGMENTED_OCTETS, MAX_SEGMENTS, MessageFailure, Messages, sockaddrs
from mcrelay.model.counters import OUTPUTS, RULES
from mcrelay.model.drops import Drop
from mcrelay.packet.fib import FROM_PACKET, NO_ROUTE, RouteTable
from mcrelay.packet.keys import EndpointKey
from mcrelay.worker.counters import ERROR_COLUMNS, OTHER_ERROR_COLUMN, CounterWriter

MAX_SCALAR_OUTPUTS = 8  # outputs of a route; the array path is cheaper for more

OCTETS = OUTPUTS.column("octets")  # in every table the second column, after the packets
LAST_TIME, LAST_SOURCE = RULES.column("last_time"), RULES.column("last_source")


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
    flow: Microflow | None = None
    """The microflow whose TTL and TOS the messages have at present."""
    count: int = 0
    """The number of payloads that the messages take at present."""


class DirectRun(NamedTuple):
    """How a run of a microflow is relayed in one system call, without a call of a Python function."""

    route: PreparedRoute
    header_sum: int
    octets: int
    max_run: int
    """This and the fields before are those of the microflow."""
    arguments: tuple[int, ctypes.c_void_p, int, int]
    """Those of `send_quickly`, which returns `messages`."""
    messages: int
    outputs: tuple[tuple[int, int, int], ...]
    """The indexes in `CounterWriter.counts` of each output's packets and octets, and `PreparedOutput.own`."""
    rule: int
    """Index of the rule's first counter there."""
    frame_octets: int
    source_address: int


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
    direct: DirectRun | None
    """None if the route takes more than one system call, or has outputs with a fault."""


class ScalarPath:
    """The scalar path of a worker. `own` has the endpoints from which the relay's outputs send."""

    def __init__(
        self,
        routes: RouteTable,
        descriptors: Sequence[int],
        own: frozenset[EndpointKey],
        counters: CounterWriter,
    ) -> None:
        self.own = own
        self.refusals = 0
        """How often a device refused segments: limits of microflows from before are void."""
        self._routes = routes
        self._descriptors = descriptors
        self._counters = counters
        self._prepared: dict[int, PreparedRoute | None] = {}
        self._messages = Messages(max(MAX_SEGMENTS, len(routes.row)))
        self.iovec = self._messages.iovec_words
        """Address and length of the payloads that `send` sends, in turn."""
        self._names = sockaddrs(routes.destinations)
        self._messages.prepare(self._names)
        # The longest payload that each socket sends in segments, if its device refused longer ones. It is 0
        # for lo, whose ring would get the segments as one super-packet.
        self._max_segment_octets = {descriptors[at]: 0 for at in routes.is_loopback.nonzero()[0].tolist()}

    def max_run(self, route: PreparedRoute, octets: int) -> int:
        """Return how many payloads of a length one message to each output of a route may take."""
        limits = [self._max_segment_octets.get(span.descriptor, MAX_SEGMENTED_OCTETS) for span in route.spans]
        if not 0 < octets <= min(limits, default=0):
            return 1
        return min(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // octets)

    def send(self, flow: Microflow, count: int, time: int, sent: int | None = None) -> None:
        """Send the first `count` payloads of `iovec`, of one microflow, and count them for the outputs.

        `time` is the arrival of the last one. `sent` is what `send_quickly` returned if it was called before
        with the arguments of `LonePacket`.
        """
        route, counts = flow.route, self._counters.counts
        self.set_up(flow, count)
        failed: Counter[int] | None = None
        for span in route.spans:
            if sent is None:
                sent = sendmmsg.send_quickly(span.descriptor, span.place, span.count, MSG_DONTWAIT)
            if sent != span.count:
                failed = (failed or Counter()) + self._send_rest(route, span, sent, time)
            sent = None
        for output in route.outputs:
            packets = count - failed[output.message] if failed else count
            if packets:
                counts[output.counts] += packets
                counts[output.counts + OCTETS] += packets * flow.octets
                if output.own:
                    counts[output.own] += packets
        for output_counts, column in route.faults:
            self._counters.add_send_errors(output_counts, column, count, time)

    def set_up(self, flow: Microflow, count: int) -> None:
        """Let the messages of a route take `count` payloads of a microflow."""
        route = flow.route
        if (run := count << 16 | flow.octets if count > 1 else 0) != route.run:
            route.run = run
            for span in route.spans:
                self._messages.set_run(span.first, span.first + span.count, count, flow.octets)
        if route.flow is not flow:
            route.flow = flow
            self._copy_header(flow)
        route.count = count

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
            self.refusals += 1
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

    def prepare(self, route: int) -> PreparedRoute | None:
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


def prepare_direct_run(
    route: PreparedRoute, header_sum: int, octets: int, max_run: int, frame_octets: int, source_address: int
) -> DirectRun | None:
    """Return the `DirectRun` of a microflow, None if its route takes more."""
    if len(route.spans) != 1 or route.faults:
        return None
    [span] = route.spans
    return DirectRun(
        route,
        header_sum,
        octets,
        max_run,
        (span.descriptor, span.place, span.count, MSG_DONTWAIT),
        span.count,
        tuple((output.counts, output.counts + OCTETS, output.own) for output in route.outputs),
        route.counts,
        frame_octets,
        source_address,
    )
