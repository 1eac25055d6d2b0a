"""Sends the payloads of a batch directly from the packet ring, by sendmmsg(2) for each egress socket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux.sendmmsg import (
    MAX_SEGMENTED_OCTETS,
    SOCKADDR_IN,
    MessageFailure,
    Messages,
    address_of,
    sockaddrs,
)
from mcrelay.packet.fib import FROM_PACKET, NO_FAULT, RouteTable
from mcrelay.worker.segments import Runs, find_runs, run_spans, run_starts

Column = NDArray[np.int64]

MAX_PAYLOADS = 2048  # payloads of a batch, and messages of one round of system calls


@dataclass(frozen=True, slots=True)
class BatchPayloads:
    """n payloads of a batch, at least 1 and at most MAX_PAYLOADS; columns of shape (n,)."""

    route: Column
    """Route of each payload, ascending."""
    address: NDArray[np.uint64]
    """Memory address of the payload."""
    length: Column
    header: Column | None
    """TTL << 8 | TOS of each packet, each 0 unless an output copies it; the two ECN bits are zero."""


@dataclass(frozen=True, slots=True)
class OutputMessages:
    """m messages, each with consecutive payloads for one output; columns of shape (m,).

    They are sorted by output, and the messages of one output are in the order of the packets.
    """

    output: Column
    first: Column
    """Index of the first payload in the batch."""
    count: Column
    octets: Column


@dataclass(frozen=True, slots=True)
class SendFailure:
    """Consecutive payloads of a batch that one output could not send."""

    output: int
    code: int
    """An errno."""
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of sending a batch."""

    runs: Runs
    messages: OutputMessages
    """Messages that were passed to the kernel."""
    withheld: OutputMessages | None
    """Messages that were not sent because the way of their output has a fault."""
    expired: OutputMessages | None
    """Messages that were not sent because their TTL was used up."""
    failures: list[SendFailure]

    def count_by_output(self, length: Column) -> tuple[Column, Column, Column]:
        """Return the outputs that have messages, ascending, and the packets and octets that each one sent."""
        output = self.messages.output
        first = run_starts(output)
        if not len(first):
            return first, first, first
        packets = np.add.reduceat(self.messages.count, first)
        octets = np.add.reduceat(self.messages.octets, first)
        output = output[first]
        for failure in self.failures:
            index = int(np.searchsorted(output, failure.output))
            packets[index] -= failure.count
            octets[index] -= length[failure.first : failure.first + failure.count].sum()
        return output, packets, octets


class BatchSender:
    """Sends batches through the egress sockets of a worker."""

    def __init__(self, routes: RouteTable, descriptors: Sequence[int]) -> None:
        self.routes = routes
        self._descriptors = descriptors
        self._messages = Messages(MAX_PAYLOADS)
        self._names = sockaddrs(routes.destinations)
        self._name = np.uint64(address_of(self._names)) + np.arange(
            len(self._names), dtype=np.uint64
        ) * np.uint64(SOCKADDR_IN.itemsize)
        # The longest payload that each socket sends in segments. Longer payloads are sent one by one, because
        # the device refused segments of their length.
        # So does the worker for lo, whose ring would get a run as one super-packet.
        self._max_segment_octets = np.where(routes.is_loopback, 0, MAX_SEGMENTED_OCTETS)
        self._refuses_segments = bool(routes.is_loopback.any())

    def send(self, payloads: BatchPayloads) -> SendResult:
        """Send each payload to the outputs of its route."""
        count = len(payloads.route)
        self._messages.iovec["base"][:count] = payloads.address
        self._messages.iovec["length"][:count] = payloads.length
        runs = find_runs(payloads.route, payloads.header, payloads.length)
        messages, withheld = self._expand(runs), None
        if self.routes.has_faults and (is_faulty := self.routes.fault[messages.output] != NO_FAULT).any():
            withheld, messages = _select(messages, is_faulty), _select(messages, ~is_faulty)
        if self._refuses_segments:
            messages = self._split_refused(messages, payloads.length)
        ttl, tos = self._header(messages, payloads.header)
        expired = None
        if self.routes.has_ttl_from_packet and not (is_alive := ttl > 0).all():
            expired, messages = _select(messages, ~is_alive), _select(messages, is_alive)
            ttl, tos = ttl[is_alive], tos[is_alive]
        return SendResult(runs, messages, withheld, expired, list(self._send_messages(messages, ttl, tos)))

    def _expand(self, runs: Runs) -> OutputMessages:
        """Return one message for each run and output of its route."""
        run, output = self.routes.expand(runs.route)
        messages = OutputMessages(output, runs.first, runs.count, runs.octets)
        if run is not None:
            messages = OutputMessages(output, runs.first[run], runs.count[run], runs.octets[run])
        if (output[1:] < output[:-1]).any():
            return _select(messages, np.argsort(output, kind="stable"))
        return messages

    def _split_refused(self, messages: OutputMessages, length: Column) -> OutputMessages:
        """Return the messages, split into single payloads if the socket refuses segments of that length."""
        is_refused = length[messages.first] > self._max_segment_octets[self.routes.egress[messages.output]]
        pieces = np.where(is_refused, messages.count, 1)
        message = np.repeat(np.arange(len(pieces)), pieces)
        first = messages.first[message] + np.arange(len(message)) - (np.cumsum(pieces) - pieces)[message]
        count = np.where(is_refused, 1, messages.count)[message]
        octets = np.where(is_refused[message], length[first], messages.octets[message])
        return OutputMessages(messages.output[message], first, count, octets)

    def _header(self, messages: OutputMessages, header: Column | None) -> tuple[Column, Column]:
        """Return the TTL and the TOS octet of each message; a TTL of 0 or less is expired."""
        ttl, tos = self.routes.ttl[messages.output], self.routes.tos[messages.output]
        if header is not None:
            copied = header[messages.first]
            if self.routes.has_ttl_from_packet:
                ttl = np.where(ttl == FROM_PACKET, (copied >> 8) - 1, ttl)
            if self.routes.has_tos_from_packet:
                tos = np.where(tos == FROM_PACKET, copied & 0xFF, tos)
        return ttl, tos

    def _send_messages(self, messages: OutputMessages, ttl: Column, tos: Column) -> Iterator[SendFailure]:
        """Send the messages, MAX_PAYLOADS at a time, and yield the failures."""
        for begin in range(0, len(ttl), MAX_PAYLOADS):
            part = slice(begin, begin + MAX_PAYLOADS)
            output = messages.output[part]
            first = messages.first[part]
            self._messages.compose(first, messages.count[part], self._name[output], ttl[part], tos[part])
            for failure in self._send_composed(self.routes.egress[output]):
                payload = int(first[failure.message]) + failure.payload
                yield SendFailure(int(output[failure.message]), failure.code, payload, failure.datagrams)

    def _send_composed(self, socket: Column) -> Iterator[MessageFailure]:
        for start, stop in run_spans(socket):
            index = int(socket[start])
            yield from self._messages.send(self._descriptors[index], start, stop)
            if self._messages.refused_segment is not None:
                self._max_segment_octets[index] = self._messages.refused_segment - 1
                self._refuses_segments = True
                self._messages.refused_segment = None


def _select(messages: OutputMessages, which: NDArray[np.bool_] | Column) -> OutputMessages:
    """Return the messages that a mask or indexes select."""
    return OutputMessages(
        messages.output[which], messages.first[which], messages.count[which], messages.octets[which]
    )
