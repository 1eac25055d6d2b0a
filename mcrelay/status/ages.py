"""The age of a time of day, which is correct also where the clock has been set since then."""

from __future__ import annotations

from collections import deque

MIN_STEP_S = 0.1  # a smaller difference is drift that NTP slews, or jitter of the two readings
MAX_DETECTION_S = 2.0  # after which a step of the clock has been sampled
MAX_SETTINGS = 16


class ClockHistory:
    """The settings of the clock: since when, and by how much the time of day was ahead of the boot clock.

    The boot clock counts the seconds since the boot, suspended time included (CLOCK_BOOTTIME). It cannot
    be set. A time of day that fits several settings belongs to the latest of them.
    """

    def __init__(self) -> None:
        self._settings: deque[tuple[float, float]] = deque(maxlen=MAX_SETTINGS)

    def sample(self, time_of_day: float, boot: float) -> None:
        """Record a step of the clock. Call it at least every MAX_DETECTION_S seconds."""
        ahead = time_of_day - boot
        if not self._settings:
            self._settings.append((float("-inf"), ahead))
        elif abs(ahead - self._settings[-1][1]) > MIN_STEP_S:
            self._settings.append((boot, ahead))

    def age(self, time_of_day: float, boot: float) -> float:
        """Return how many seconds before `boot` the clock showed a time of day; 0 where none fits."""
        end = boot
        for since, ahead in reversed(self._settings):
            if since - MAX_DETECTION_S <= time_of_day - ahead <= end + MIN_STEP_S:
                return max(0.0, boot - (time_of_day - ahead))
            end = since
        return 0.0
