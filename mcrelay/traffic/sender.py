"""Probes on their way out, to several destinations in turn."""

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

BATCH_PACKETS = (
    256  # packets made ready at once: few enough to stay in the processor's cache until they leave
)


class ProbeSender:
    """Packets numbered from 0 for each destination. They are made many at a time and stamped when they leave.

    `taken` counts all that were taken for sending; `failures`, by errno, those that could not be sent.
    With `segments`, one message to the kernel holds as many packets as it cuts apart again; there must be
    one destination only.
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
        self.taken = 0
        self.failures: Counter[int] = Counter()
        self._unsent: Counter[int] = Counter()  # by place in `destinations`
        self._descriptor = descriptor
        self._tos = tos
        self._run = min(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // size) if segments else 1
        self._lay_out(size)

    def _lay_out(self, size: int) -> None:
        """Decide once for all batches where each row lies and where it goes."""
        number = len(self.destinations)
        rows = np.arange(
            -(-BATCH_PACKETS // number) * number
        )  # whole rounds, so that each batch is laid out alike
        place, self._rounds = rows % number, rows // number
        self._payloads = ProbePayloads(len(rows), size)
        self._messages = Messages(len(rows))
        octets = self._payloads.octets
        self._messages.iovec["base"] = address_of(octets) + rows * octets.shape[1]
        self._messages.iovec["length"] = size
        self._names = sockaddrs([(address_to_number(one.address), one.port) for one in self.destinations])
        self._name = address_of(self._names) + place * self._names.itemsize
        self._ttl, self._flow = np.array(self.ttls)[place], np.array(self.flows)[place]

    @property
    def sent(self) -> list[int]:
        """How many packets were sent to each destination."""
        number = len(self.destinations)
        return [-(-(self.taken - place) // number) - self._unsent[place] for place in range(number)]

    def send(self, limit: int) -> int:
        """Send up to `limit` packets, wait where the socket has no room, and return how many were taken.

        Raises OSError where nothing was ever sent: then more would not help.
        """
        rows = len(self._rounds)
        first = self.taken % rows
        last = min(first + limit, rows)
        if first == 0:
            self._payloads.fill(self._flow, self._rounds + self.taken // len(self.destinations))
        starts = np.arange(first, last, self._run)
        count = np.minimum(self._run, last - starts)
        messages = self._messages.compose(starts, count, self._name[starts], self._ttl[starts], self._tos)
        self._payloads.stamp(first, last, time.time_ns())
        for failure in self._messages.send(self._descriptor, 0, messages, flags=0):
            self._failed(failure, int(starts[failure.message]) % len(self.destinations))
        if self._messages.refused_segment is not None:
            self._run = 1
        self.taken += last - first
        return last - first

    def _failed(self, failure: MessageFailure, place: int) -> None:
        if self.taken == 0:
            raise OSError(failure.code, _reason(failure.code, self.destinations[place]))
        self.failures[failure.code] += failure.datagrams
        self._unsent[place] += failure.datagrams


def _flows(count: int) -> list[int]:
    """Return numbers that no other sender, and no earlier run of this one, is likely to use."""
    base = secrets.randbits(32)
    return [(base + place) % 2**32 for place in range(count)]


def _reason(code: int, destination: Endpoint) -> str:
    match code:
        case errno.ENETUNREACH:
            return f"no route to {destination.address}: name the device with --interface"
        case errno.ENETDOWN:
            return f"cannot send to {destination}: the device is down (ip link set DEVICE up)"
        case _:
            return f"cannot send to {destination}: {describe(code)}"
