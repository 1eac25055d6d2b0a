"""The pace at which links are read: at once after a quiet time, and seldom while they flap."""

from __future__ import annotations

from math import inf

FIRST_DELAY_S = (
    0.02  # from the first change until all links are read, so that one read serves several changes
)
LONGEST_DELAY_S = 0.5  # each further delay is twice the previous delay
QUIET_S = 1.0  # without a change, after which the delay is the first again


class LinkPace:
    """Tells when to read the links after a change. Times are in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._delay = FIRST_DELAY_S
        self._last_change = -inf

    def record_change(self, now: float) -> float:
        """Return the time at which to read the links after a change; call it once for each read."""
        is_quiet = now - self._last_change > QUIET_S
        self._delay = FIRST_DELAY_S if is_quiet else min(2 * self._delay, LONGEST_DELAY_S)
        self._last_change = now
        return now + self._delay
