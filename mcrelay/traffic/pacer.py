"""Pacing of packets, so that they are sent at an even rate. All times are seconds of a monotonic clock."""

from __future__ import annotations

ROUND_S = 0.0002  # packets that are due within such a time are sent together, by default
MAX_BURST_S = 0.001  # a late sender sends at most the packets of such a time together
MAX_CATCH_UP_S = 1.0  # a sender that is later than this skips packets


class Pacer:
    """Computes how many packets are due at a rate in packets a second.

    A late sender catches up at no more than twice the rate.
    """

    def __init__(self, rate: float, now: float, round_s: float = ROUND_S) -> None:
        self._rate = rate
        self._round = max(1, int(rate * round_s))
        self._burst = max(1, int(rate * MAX_BURST_S))
        self._next = now  # time at which the next packet is due
        self._earliest = now  # time before which it must not be sent, because of the last packets sent

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
