"""What a worker writes a trace with: the ring, and how much may be written."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from mcrelay.tracing.ring import MEMORY_SIZE, Event, RateLimit, Writer


class TraceWriter:
    """What a worker writes a trace with. The ring goes on where a dead predecessor stopped."""

    def __init__(self, descriptor: int) -> None:
        self._writer = Writer(memoryview(mmap.mmap(descriptor, MEMORY_SIZE)))
        self._allowance = RateLimit()

    def chosen(self, candidates: NDArray[np.int64], now: int) -> NDArray[np.int64]:
        """Return which of the candidates may be written; the others are counted as skipped."""
        granted = self._allowance.granted(len(candidates), now)
        if granted < len(candidates):
            self._writer.skip(len(candidates) - granted)
        return candidates[:granted]

    def write(self, event: Event) -> None:
        """Write an event."""
        self._writer.write(event)
