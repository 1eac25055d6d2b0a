"""How long ago a time of day was, although somebody may have set the clock since."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

STEP = 0.1  # seconds by which nobody but a person, or a daemon that sets the clock, moves it at once
LATE = 2.0  # seconds after which a step has been seen
KEPT = 16  # steps


def boot_time() -> float:
    """Return the seconds since the boot, those in which the host slept included: nobody sets that clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Ages:
    """What the time of day was ahead of the seconds since the boot, and since when.

    A time that fits several settings of the clock was told by the latest of them.
    """

    def __init__(self, seconds: Callable[[], float] = boot_time) -> None:
        self._seconds = seconds
        self._settings: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def sample(self, time_of_day: float) -> None:
        """Notice whether the clock was set; to be called all the time."""
        now = self._seconds()
        ahead = time_of_day - now
        if not self._settings:
            self._settings.append((float("-inf"), ahead))
        elif abs(ahead - self._settings[-1][1]) > STEP:
            self._settings.append((now, ahead))

    def age(self, then: float) -> float:
        """Return how many seconds ago the clock told this time."""
        end = now = self._seconds()
        for since, ahead in reversed(self._settings):
            if since - LATE <= then - ahead <= end + STEP:
                return max(0.0, now - (then - ahead))
            end = since
        return 0.0
