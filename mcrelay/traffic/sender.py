"""The sender of probes, which sends to several destinations in turn."""

from __future__ import annotations

import errno
import secrets
import time
from collections import Counter

import numpy as np

from mcrelay.linux.sendmmsg import (
    MAX_SEGMENTED_OCTETS,
    MAX_SEGMENTS,
    MessageFailure,
    Messages,
    address_of,
    describe,
    sockaddrs,
)
from mcrelay.model.addresses import address_to_number
from mcrelay.traffic.endpoint import Endpoint
from mcrelay.traffic.probe import ProbePayloads

BATCH_PACKETS = 256  # prepared together; few enough to stay in the CPU cache until they are sent


class ProbeSender:
    """Sends packets, which are numbered from 0 for each destination.

    `attempted` counts the packets that were passed to the kernel, and `failures` those that the kernel
    refused, by errno. If `segments` is true, each message to the kernel holds as many packets as the kernel
    can cut it into; `destinations` must then have a single entry.
    """

    def __init__(
        self,
        descriptor: int,
        destinations: list[Endpoint],
        size: int,
        ttls: list[int],
        tos: int,
        segments: bool = False,
    ) -> None:
        self.destinations = destinations
        self.ttls = ttls
        self.flows = _flows(len(destinations))
        self.attempted = 0
        self.failures: Counter[int] = Counter()
        self._unsent: Counter[int] = Counter()  # by the index of the destination
        self._descriptor = descriptor
        self._tos = tos
        self._run = min(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // size) if segments else 1
        self._lay_out(size)

    def _lay_out(self, size: int) -> None:
        """Compute the address and the destination of each row, which are the same for all batches."""
        number = len(self.destinations)
        # A batch has a multiple of the number of destinations, so that all batches have the same layout.
        rows = np.arange(-(-BATCH_PACKETS // number) * number)
        index, self._rounds = rows % number, rows // number
        self._payloads = ProbePayloads(len(rows), size)
        self._messages = Messages(len(rows))
        octets = self._payloads.octets
        self._messages.iovec["base"] = address_of(octets) + rows * octets.shape[1]
        self._messages.iovec["length"] = size
        self._names = sockaddrs(
            [(address_to_number(destination.address), destination.port) for destination in self.destinations]
        )
        self._name = address_of(self._names) + index * self._names.itemsize
        self._ttl, self._flow = np.array(self.ttls)[index], np.array(self.flows)[index]

    @property
    def sent(self) -> list[int]:
        """The number of packets sent to each destination."""
        number = len(self.destinations)
        return [-(-(self.attempted - index) // number) - self._unsent[index] for index in range(number)]

    def send(self, limit: int) -> int:
        """Send up to `limit` packets, wait while the socket is full, and return how many were attempted.

        Raises OSError if one of the very first packets cannot be sent, because later packets would fail as
        well.
        """
        rows = len(self._rounds)
        first = self.attempted % rows
        last = min(first + limit, rows)
        if first == 0:
            self._payloads.fill(self._flow, self._rounds + self.attempted // len(self.destinations))
        starts = np.arange(first, last, self._run)
        count = np.minimum(self._run, last - starts)
        messages = self._messages.compose(starts, count, self._name[starts], self._ttl[starts], self._tos)
        self._payloads.stamp(first, last, time.time_ns())
        for failure in self._messages.send(self._descriptor, 0, messages, flags=0):
            self._record(failure, int(starts[failure.message]) % len(self.destinations))
        if self._messages.refused_segment is not None:
            self._run = 1
        self.attempted += last - first
        return last - first

    def _record(self, failure: MessageFailure, index: int) -> None:
        if self.attempted == 0:
            raise OSError(failure.code, _reason(failure.code, self.destinations[index]))
        self.failures[failure.code] += failure.datagrams
        self._unsent[index] += failure.datagrams


def _flows(count: int) -> list[int]:
    """Return random flow numbers, which other senders and earlier runs are unlikely to use."""
    base = secrets.randbits(32)
    return [(base + index) % 2**32 for index in range(count)]


def _reason(code: int, destination: Endpoint) -> str:
    match code:
        case errno.ENETUNREACH:
            return f"no route to {destination.address}: give a device with --interface"
        case errno.ENETDOWN:
            return f"cannot send to {destination}: the device is down (use `ip link set DEVICE up`)"
        case _:
            return f"cannot send to {destination}: {describe(code)}"
