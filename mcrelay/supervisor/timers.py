"""Timers of the supervisor's loop, for work that is due at a certain time rather than after an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timer:
    """A deadline, which may move at any time, and the function to call then. Times are in seconds."""

    due: Callable[[float], float | None]
    """Takes the time now, and returns the deadline; None while there is no deadline."""
    run: Callable[[], None] | None = None
    """The function to call at the deadline; None if the deadline only has to wake the loop."""


def seconds_left(timers: Sequence[Timer], now: float) -> float | None:
    """Return the seconds until the earliest deadline, at least 0; None if no timer has a deadline."""
    deadlines = [due for timer in timers if (due := timer.due(now)) is not None]
    return max(0.0, min(deadlines) - now) if deadlines else None


def run_due(timers: Sequence[Timer], now: float) -> None:
    """Run the timers whose deadline has passed, in their order."""
    for timer in timers:
        due = timer.due(now)
        if timer.run and due is not None and due <= now:
            timer.run()
