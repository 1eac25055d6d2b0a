"""The writer of the trace of one rule, into a ring in shared memory, at a limited rate."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from mcrelay.tracing.events import Event
from mcrelay.tracing.ring import TRACE_RING_SIZE, Writer

# Far more events than a person reads; writing them costs little compared with relaying the packets.
BURST_EVENTS = 256
EVENTS_PER_SECOND = 2000


class RateLimit:
    """A token bucket for the events of a trace: a burst of BURST_EVENTS, then EVENTS_PER_SECOND."""

    def __init__(self) -> None:
        self._tokens = float(BURST_EVENTS)
        self._time = 0

    def grant(self, wanted: int, now: int) -> int:
        """Return how many of the `wanted` events may be written; `now` is in nanoseconds of any clock."""
        elapsed = max(0, now - self._time)  # a clock that is set back adds no tokens
        self._tokens = min(float(BURST_EVENTS), self._tokens + elapsed * EVENTS_PER_SECOND / 1e9)
        self._time = now
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted


class TraceWriter:
    """The writer of one trace. It continues the ring of a worker that died."""

    def __init__(self, descriptor: int) -> None:
        self._ring = Writer(memoryview(mmap.mmap(descriptor, TRACE_RING_SIZE)))
        self._limit = RateLimit()

    def choose(self, candidates: NDArray[np.int64], now: int) -> NDArray[np.int64]:
        """Return the candidates that may be written (`now` in nanoseconds); count the others as skipped."""
        granted = self._limit.grant(len(candidates), now)
        if granted < len(candidates):
            self._ring.skip(len(candidates) - granted)
        return candidates[:granted]

    def write(self, event: Event) -> None:
        """Write an event."""
        self._ring.write(event)
