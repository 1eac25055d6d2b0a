"""The age of packets: which of them waited so long that they are stale.

The kernel stamps each packet with the time of day, which may be set while the packet waits. The difference
between the time of day and the time since the boot shows that. Around such a step, a packet is stale only if
neither the clock before the step nor the clock after it explains its stamp by a small age. Neither the time
since the boot nor the difference changes while the host is suspended.

With cold caches, reading two clocks takes a tenth of the time that a packet takes. A timer saves that. It is
started before a ring is found empty. Until it expires, all packets of this ring are fresh.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.frame_columns import arrival_time, arrival_times

# All times are in nanoseconds.
MIN_STEP = 10_000_000  # a smaller step of the clock cannot make a fresh packet stale
_MAX_READING_TIME = 1_000_000  # within which both clocks are read, unless the process stands still meanwhile
MIN_TIMED_AGE = 200_000_000  # for a smaller greatest age, a timer would wake up the worker too often
_EVERY = slice(None)


time_since_boot = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
"""Returns the time since the boot of the host, with the time that it was suspended."""


class Timer(Protocol):
    """A timer that calls `PacketAges.end_period` when it expires."""

    def start(self, nanoseconds: int) -> None:
        """Let the timer expire once, after this time since the boot."""


class PacketAges:
    """Finds stale packets. `max_age` is the greatest age of a packet that is not stale, or None."""

    def __init__(
        self, time_of_day: Callable[[], int] = time.time_ns, since_boot: Callable[[], int] = time_since_boot
    ) -> None:
        self.max_age: int | None = None
        self.timer: Timer | None = None
        self.period = 0
        """Number of the present period, which ends when the timer expires."""
        self._timed_age: int | None = None
        """The greatest age for which the timer runs, None if it does not run."""
        self.time_of_day = time_of_day
        self._since_boot = since_boot
        self._offset = self._read_offset()
        self._offset_before = self._offset
        self._stepped_at: int | None = None
        """When a step of the clock was noticed, in time since the boot; None if it no longer matters."""

    def has_stepped(self) -> bool:
        """Return whether the clock was set so recently that packets may have stamps of both clocks."""
        if self.max_age is None:
            return False
        now = self._since_boot()
        if abs(self.time_of_day() - now - self._offset) > MIN_STEP:
            self._record_step()
        if self._stepped_at is not None and now - self._stepped_at > self.max_age:
            self._stepped_at = None
        return self._stepped_at is not None

    def oldest_fresh(self) -> int | None:
        """Return the stamp of the oldest packet that is fresh now; None if that takes both clocks."""
        if self.max_age is None:
            return 0
        now = self.time_of_day()
        is_steady = -MIN_STEP <= now - self._since_boot() - self._offset <= MIN_STEP
        if (is_steady and self._stepped_at is None) or not self.has_stepped():
            return now - self.max_age
        return None

    def start_period(self) -> int | None:
        """Start the timer unless it runs, and return the number of the present period; None without a timer.

        If a ring is found empty after this call, its packets are fresh as long as `period` is this number.
        """
        if self.max_age is None:
            return self.period
        if self.timer is None or self.max_age < MIN_TIMED_AGE:
            return None
        if self._timed_age != self.max_age:
            self._timed_age = self.max_age
            self.timer.start(self.max_age // 2)
        return self.period

    def end_period(self) -> None:
        """The timer expired: packets may have become stale since a ring was found empty."""
        self.period += 1
        self._timed_age = None

    def find_stale(self, frames: NDArray[np.uint32]) -> NDArray[np.bool_] | None:
        """Return a mask of the stale packets among n frames of a ring, shape (n,); None if none is stale.

        The packets of a ring have the order of their arrival, so all are fresh if the first one is fresh.
        """
        if self.max_age is None:
            return None
        now = self.time_of_day()
        if self._stepped_at is None and now - arrival_time(frames[0]) <= self.max_age:
            return None
        stamps = arrival_times(frames, _EVERY)
        is_stale = now - stamps > self.max_age
        if self._stepped_at is not None:
            since_boot = self._since_boot()
            by_clock_before = since_boot + self._offset_before - stamps
            is_after_step = by_clock_before < since_boot - self._stepped_at
            is_too_old = by_clock_before > self.max_age
            is_stale = np.where(is_after_step, is_stale, is_too_old & (is_stale | (stamps > now)))
        return is_stale if is_stale.any() else None

    def _record_step(self) -> None:
        offset = self._read_offset()
        if abs(offset - self._offset) > MIN_STEP:
            self._offset_before, self._stepped_at = self._offset, self._since_boot()
        self._offset = offset

    def _read_offset(self) -> int:
        """Return the difference between the two clocks, read at nearly the same time."""
        while True:
            before = self._since_boot()
            now = self.time_of_day()
            if self._since_boot() - before < _MAX_READING_TIME:
                return now - before
