"""Sends the payloads of a batch again: one sendmmsg for each egress socket, straight from the ring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux.sendmmsg import MAX_SEGMENTED_OCTETS, SOCKADDR_IN, Failure, Messages, address_of, sockaddrs
from mcrelay.packet.fib import FROM_PACKET, Routes
from mcrelay.worker.segments import Runs, runs, spans, starts

Column = NDArray[np.int64]

CAPACITY = 2048  # payloads of a batch, and messages in one round of system calls


@dataclass(frozen=True, slots=True)
class Payloads:
    """What n packets hand on, at least one and at most CAPACITY; columns of shape (n,)."""

    route: Column
    """Ascending."""
    address: NDArray[np.uint64]
    """Where the payload lies in memory."""
    length: Column
    header: Column | None
    """TTL << 8 | TOS as they came, where an output asks for them; the two bits of ECN are not set."""


@dataclass(frozen=True, slots=True)
class Copies:
    """m messages of payloads that follow one another, to one output each; columns of shape (m,).

    They are in the order of their outputs, and for each output in the order of the packets.
    """

    output: Column
    first: Column
    """Place of the first payload among those of the batch."""
    count: Column
    octets: Column


@dataclass(frozen=True, slots=True)
class Unsent:
    """Payloads of a batch that one output could not send."""

    output: int
    code: int
    """An errno."""
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a batch."""

    runs: Runs
    copies: Copies
    """What was to be sent."""
    expired: Copies | None
    """What was not, because the TTL left nothing."""
    unsent: list[Unsent]

    def by_output(self, length: Column) -> tuple[Column, Column, Column]:
        """Return the outputs that had anything to send, ascending, with packets and octets they have sent."""
        output = self.copies.output
        first = starts(output)
        if not len(first):
            return first, first, first
        packets = np.add.reduceat(self.copies.count, first)
        octets = np.add.reduceat(self.copies.octets, first)
        output = output[first]
        for failure in self.unsent:
            place = int(np.searchsorted(output, failure.output))
            packets[place] -= failure.count
            octets[place] -= length[failure.first : failure.first + failure.count].sum()
        return output, packets, octets


class Egress:
    """The way out of a worker: its routes, and the sockets they send from."""

    def __init__(self, routes: Routes, descriptors: Sequence[int]) -> None:
        self.routes = routes
        self._descriptors = descriptors
        self._messages = Messages(CAPACITY)
        self._names = sockaddrs(routes.destinations)
        self._name = np.uint64(address_of(self._names)) + np.arange(
            len(self._names), dtype=np.uint64
        ) * np.uint64(SOCKADDR_IN.itemsize)
        # Payloads longer than this go out one by one, because the socket's device refused them as segments.
        self._longest_segment = np.full(len(descriptors), MAX_SEGMENTED_OCTETS, np.int64)
        self._refuses_segments = False

    def send(self, payloads: Payloads) -> Sent:
        """Send each payload to the outputs of its route."""
        count = len(payloads.route)
        self._messages.iovec["base"][:count] = payloads.address
        self._messages.iovec["length"][:count] = payloads.length
        found = runs(payloads.route, payloads.header, payloads.length)
        copies = self._copies(found)
        if self._refuses_segments:
            copies = self._with_singles(copies, payloads.length)
        ttl, tos = self._header(copies, payloads.header)
        expired = None
        if self.routes.has_ttl_from_packet and not (is_alive := ttl > 0).all():
            expired, copies = _only(copies, ~is_alive), _only(copies, is_alive)
            ttl, tos = ttl[is_alive], tos[is_alive]
        return Sent(found, copies, expired, list(self._unsent(copies, ttl, tos)))

    def _copies(self, found: Runs) -> Copies:
        run, output = self.routes.copies(found.route)
        copies = Copies(output, found.first, found.count, found.octets)
        if run is not None:
            copies = Copies(output, found.first[run], found.count[run], found.octets[run])
        if (output[1:] < output[:-1]).any():
            return _only(copies, np.argsort(output, kind="stable"))
        return copies

    def _with_singles(self, copies: Copies, length: Column) -> Copies:
        """Take those messages apart whose socket takes no segments as long as theirs."""
        is_refused = length[copies.first] > self._longest_segment[self.routes.egress[copies.output]]
        pieces = np.where(is_refused, copies.count, 1)
        copy = np.repeat(np.arange(len(pieces)), pieces)
        first = copies.first[copy] + np.arange(len(copy)) - (np.cumsum(pieces) - pieces)[copy]
        count = np.where(is_refused, 1, copies.count)[copy]
        octets = np.where(is_refused[copy], length[first], copies.octets[copy])
        return Copies(copies.output[copy], first, count, octets)

    def _header(self, copies: Copies, header: Column | None) -> tuple[Column, Column]:
        """Return TTL and TOS of each message; no TTL above zero where nothing of the packet's is left."""
        ttl, tos = self.routes.ttl[copies.output], self.routes.tos[copies.output]
        if header is not None:
            came = header[copies.first]
            if self.routes.has_ttl_from_packet:
                ttl = np.where(ttl == FROM_PACKET, (came >> 8) - 1, ttl)
            if self.routes.has_tos_from_packet:
                tos = np.where(tos == FROM_PACKET, came & 0xFF, tos)
        return ttl, tos

    def _unsent(self, copies: Copies, ttl: Column, tos: Column) -> Iterator[Unsent]:
        """Send the messages, as many at a time as there is room for, and tell what failed."""
        for begin in range(0, len(ttl), CAPACITY):
            part = slice(begin, begin + CAPACITY)
            output = copies.output[part]
            first = copies.first[part]
            self._messages.compose(first, copies.count[part], self._name[output], ttl[part], tos[part])
            for failure in self._send_composed(self.routes.egress[output]):
                place = int(first[failure.message]) + failure.payload
                yield Unsent(int(output[failure.message]), failure.code, place, failure.datagrams)

    def _send_composed(self, socket: Column) -> Iterator[Failure]:
        for start, stop in spans(socket):
            index = int(socket[start])
            yield from self._messages.send(self._descriptors[index], start, stop)
            if self._messages.refused_segment is not None:
                self._longest_segment[index] = self._messages.refused_segment - 1
                self._refuses_segments = True
                self._messages.refused_segment = None


def _only(copies: Copies, which: NDArray[np.bool_] | Column) -> Copies:
    """Return those messages, in that order."""
    return Copies(copies.output[which], copies.first[which], copies.count[which], copies.octets[which])
