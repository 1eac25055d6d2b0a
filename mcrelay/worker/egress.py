"""Sends the payloads of a batch again: one sendmmsg for each egress socket, straight from the ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.fib import FROM_PACKET, Routes
from mcrelay.worker.messages import (
    MAX_SEGMENTED_OCTETS,
    MAX_SEGMENTS,
    SOCKADDR_IN,
    Messages,
    address_of,
    sockaddrs,
)

Column = NDArray[np.int64]

CAPACITY = 1024  # datagrams that one round of system calls takes


@dataclass(frozen=True, slots=True)
class Payloads:
    """What n packets hand on; each column has shape (n,)."""

    address: NDArray[np.uint64]
    """Where the payload lies in memory."""
    length: Column
    ttl: NDArray[np.uint32]
    """As it came."""
    tos: NDArray[np.uint32]
    """As it came: DSCP and ECN."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the datagrams: for each output that had any, in ascending order, what was sent."""

    output: Column
    packets: Column
    octets: Column
    expired: list[tuple[int, int]]
    """(output, datagrams) whose TTL left nothing to send."""
    failures: list[tuple[int, int, int]]
    """(output, errno, datagrams)."""


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
        # A payload longer than this goes out by itself, because the socket's device refused it as a segment.
        self._longest_segment = np.full(len(descriptors), MAX_SEGMENTED_OCTETS, np.int64)

    def send(self, payloads: Payloads, route: Column) -> Sent:
        """Send each payload to the outputs of its route."""
        packet, output = self.routes.copies(route)
        if packet is None:
            packet = np.arange(len(route))
        if (output[1:] < output[:-1]).any():
            order = np.argsort(output, kind="stable")
            packet, output = packet[order], output[order]
        packet, output, ttl, expired = self._ttls(payloads, packet, output)
        tos = self._toses(payloads, packet, output)
        length = payloads.length[packet]
        failures: list[tuple[int, int, int]] = []
        is_sent = np.ones(len(packet), np.bool_)
        for first in range(0, len(packet), CAPACITY):
            part = slice(first, first + CAPACITY)
            failures += self._send_part(
                payloads.address[packet[part]],
                length[part],
                output[part],
                ttl[part],
                tos[part],
                is_sent[part],
            )
        return _summed(output, length, is_sent, expired, failures)

    def _ttls(
        self, payloads: Payloads, packet: Column, output: Column
    ) -> tuple[Column, Column, Column, list[tuple[int, int]]]:
        ttl = self.routes.ttl[output]
        if not self.routes.has_ttl_from_packet:
            return packet, output, ttl, []
        ttl = np.where(ttl == FROM_PACKET, payloads.ttl[packet].astype(np.int64) - 1, ttl)
        alive = ttl > 0
        if alive.all():
            return packet, output, ttl, []
        expired, counts = np.unique(output[~alive], return_counts=True)
        return (
            packet[alive],
            output[alive],
            ttl[alive],
            list(zip(expired.tolist(), counts.tolist(), strict=True)),
        )

    def _toses(self, payloads: Payloads, packet: Column, output: Column) -> Column:
        tos = self.routes.tos[output]
        if not self.routes.has_tos_from_packet:
            return tos
        # The DSCP is copied; the two ECN bits belong to the path that ended here (RFC 3168).
        return np.where(tos == FROM_PACKET, payloads.tos[packet].astype(np.int64) & 0xFC, tos)

    def _send_part(
        self,
        address: NDArray[np.uint64],
        length: Column,
        output: Column,
        ttl: Column,
        tos: Column,
        is_sent: NDArray[np.bool_],
    ) -> list[tuple[int, int, int]]:
        messages = self._messages
        messages.iovec["base"][: len(address)] = address
        messages.iovec["length"][: len(address)] = length
        socket = self.routes.egress[output]
        first, count = self._runs(output << 32 | tos << 24 | ttl << 16 | length, length, socket)
        messages.compose(first, count, self._name[output[first]], ttl[first], tos[first])
        failures = []
        for start, stop in _spans(socket[first]):
            index = int(socket[first[start]])
            for failure in messages.send(self._descriptors[index], start, stop):
                begin = int(first[failure.message]) + failure.payload
                is_sent[begin : begin + failure.datagrams] = False
                failures.append((int(output[begin]), failure.code, failure.datagrams))
            if messages.refused_segment is not None:
                self._longest_segment[index] = messages.refused_segment - 1
                messages.refused_segment = None
        return failures

    def _runs(self, key: Column, length: Column, socket: Column) -> tuple[Column, Column]:
        """Cut the datagrams into runs that one message can take: same output, header and length."""
        starts = _starts(key)
        sizes = _sizes(starts, len(key))
        octets = length[starts]
        limit = np.minimum(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // np.maximum(octets, 1))
        limit[(octets == 0) | (octets > self._longest_segment[socket[starts]])] = 1
        pieces = -(-sizes // limit)
        if (pieces == 1).all():
            return starts, sizes
        run = np.repeat(np.arange(len(starts)), pieces)
        within = np.arange(len(run)) - (np.cumsum(pieces) - pieces)[run]
        first = starts[run] + within * limit[run]
        return first, np.minimum(limit[run], starts[run] + sizes[run] - first)


def _summed(
    output: Column,
    length: Column,
    is_sent: NDArray[np.bool_],
    expired: list[tuple[int, int]],
    failures: list[tuple[int, int, int]],
) -> Sent:
    starts = _starts(output)
    if not len(starts):
        return Sent(starts, starts, starts, expired, failures)
    return Sent(
        output=output[starts],
        packets=np.add.reduceat(is_sent, starts, dtype=np.int64),
        octets=np.add.reduceat(length * is_sent, starts),
        expired=expired,
        failures=failures,
    )


def _starts(values: Column) -> Column:
    """Return where each run of equal values begins."""
    is_start = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_start[1:])
    return is_start.nonzero()[0]


def _sizes(starts: Column, total: int) -> Column:
    """Return how long each run is, where `total` is the length of all of them."""
    bounds = np.empty(len(starts) + 1, np.int64)
    bounds[:-1], bounds[-1] = starts, total
    return bounds[1:] - bounds[:-1]


def _spans(values: Column) -> list[tuple[int, int]]:
    """Return from where to where each run of equal values reaches."""
    starts = _starts(values).tolist()
    return list(zip(starts, [*starts[1:], len(values)], strict=True))
