"""The ages of recorded times of day, corrected for changes of the system clock since then."""

from __future__ import annotations

from collections import deque

MIN_STEP_S = 0.1  # smaller differences come from NTP slewing, or from the delay between the two readings
MAX_DETECTION_S = 2.0  # the longest time between a step of the clock and the next sample
MAX_SETTINGS = 16


class ClockHistory:
    """Records the steps of the system clock, for up to MAX_SETTINGS settings of the clock.

    For each setting it stores the boot time at which it began, and the difference between the time of day and
    the boot clock. The boot clock counts the seconds since the boot, with those in suspend (CLOCK_BOOTTIME),
    and cannot be set. A time of day that fits several settings belongs to the latest of them.
    """

    def __init__(self) -> None:
        self._settings: deque[tuple[float, float]] = deque(maxlen=MAX_SETTINGS)

    def sample(self, time_of_day: float, boot: float) -> None:
        """Record a step of the clock, if there was one. Call this at least every MAX_DETECTION_S seconds."""
        ahead = time_of_day - boot
        if not self._settings:
            self._settings.append((float("-inf"), ahead))
        elif abs(ahead - self._settings[-1][1]) > MIN_STEP_S:
            self._settings.append((boot, ahead))

    def age(self, time_of_day: float, boot: float) -> float:
        """Return how many seconds before `boot` the clock showed a time of day, or 0 if no setting fits."""
        end = boot
        for since, ahead in reversed(self._settings):
            if since - MAX_DETECTION_S <= time_of_day - ahead <= end + MIN_STEP_S:
                return max(0.0, boot - (time_of_day - ahead))
            end = since
        return 0.0
