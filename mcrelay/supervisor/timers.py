"""The supervisor's timers: what has to be done at a certain time, although nothing happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timer:
    """A deadline that may move at any time, and what it is for. Times are in seconds."""

    name: str
    due: Callable[[float], float | None]
    """Returns the deadline, given the time that it is now; None while there is none."""
    run: Callable[[], None] | None = None
    """What to do at the deadline; None if each turn of the loop does it."""


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
