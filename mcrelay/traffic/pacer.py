"""Paces packets: says how many are due so that a rate is kept evenly. Times are seconds of a steady clock."""

from __future__ import annotations

ROUND_S = 0.0002  # packets that are due within this time are sent together
MAX_BURST_S = 0.001  # a late sender never sends more than the packets of this time together
MAX_CATCH_UP_S = 1.0  # a sender that is later than this skips the packets in excess


class Pacer:
    """Keeps an even rate, in packets a second. A late sender catches up at no more than twice the rate."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._round = max(1, int(rate * ROUND_S))
        self._burst = max(1, int(rate * MAX_BURST_S))
        self._next = now  # when the next packet is due
        self._earliest = now  # when it may be sent, given when the last ones were

    def packets_due(self, now: float) -> int:
        """Return how many packets to send now."""
        if self.seconds_to_wait(now) > 0:
            return 0
        return min(self._burst, int((now - self._next) * self._rate) + 1)

    def record_sent(self, count: int, now: float) -> None:
        """Record that `count` packets were sent."""
        self._next = max(self._next + count / self._rate, now - MAX_CATCH_UP_S)
        self._earliest = now + count / (2 * self._rate)

    def seconds_to_wait(self, now: float) -> float:
        """Return for how many seconds no packet is due; 0 or less if one is due now."""
        return max(self._next + (self._round - 1) / self._rate, self._earliest) - now
