"""When the next packets are due, so that a rate is kept evenly. Times are seconds on any steady clock."""

from __future__ import annotations

ROUND_S = 0.0002  # seconds of traffic that leave together where packets are closer to each other than that
MAX_BURST_S = 0.001  # seconds of traffic: more never leave together, however late the sender is
MAX_CATCH_UP_S = 1.0  # seconds of lateness that are made up for; what goes beyond is left behind


class Pacer:
    """An even rate, in packets a second. Who was held up catches up at no more than twice the rate."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._round = max(1, int(rate * ROUND_S))
        self._burst = max(1, int(rate * MAX_BURST_S))
        self._next = now  # when the next packet should leave
        self._earliest = now  # when it may leave, as the last ones have just left

    def packets_due(self, now: float) -> int:
        """Return how many packets should leave now."""
        if self.seconds_to_wait(now) > 0:
            return 0
        return min(self._burst, int((now - self._next) * self._rate) + 1)

    def packets_sent(self, count: int, now: float) -> None:
        """Packets have left."""
        self._next = max(self._next + count / self._rate, now - MAX_CATCH_UP_S)
        self._earliest = now + count / (2 * self._rate)

    def seconds_to_wait(self, now: float) -> float:
        """Return for how many seconds no packet is due."""
        return max(self._next + (self._round - 1) / self._rate, self._earliest) - now
