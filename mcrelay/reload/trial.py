"""A config on trial: until when it runs, and what a start makes of a trial. Time is an argument.

What is confirmed comes back when the time is over, whoever died meanwhile: a start finds the trial in the
state directory, and a boot ends every trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

LONGEST = 86_400.0  # seconds of a trial


@dataclass(frozen=True, slots=True)
class BootTime:
    """Seconds since the boot of that name, those included in which the host slept (CLOCK_BOOTTIME).

    `time` is what people call it: seconds since 1970, as the clock stood when the moment was taken.
    """

    boot: str
    seconds: float
    time: float = 0.0

    def later(self, seconds: float) -> BootTime:
        """Return the moment so many seconds later."""
        return BootTime(self.boot, self.seconds + seconds, self.time + seconds)


@dataclass(frozen=True, slots=True)
class Trial:
    """What runs is on trial until `end`; then the config comes back that is `confirmed`.

    `path` is that of the config, `hash` that of what is tried; `confirmed` is a number of the history.
    """

    path: str
    hash: str
    end: BootTime
    confirmed: int
    confirmed_hash: str

    def left(self, now: BootTime) -> float:
        """Return the seconds that are left: 0 after the end, in another boot, or if it ends absurdly late."""
        left = self.end.seconds - now.seconds
        return left if self.end.boot == now.boot and 0 < left <= LONGEST else 0.0

    def of(self, tried: str) -> Trial:
        """Return the same trial of another content."""
        return replace(self, hash=tried)

    def until(self, end: BootTime) -> Trial:
        """Return the same trial with another end."""
        return replace(self, end=end)

    def as_json(self) -> dict[str, Any]:
        """Return what `trial_of` reads."""
        return {
            "version": 1,
            "config": self.path,
            "hash": self.hash,
            "boot_id": self.end.boot,
            "until": self.end.seconds,
            "time": self.end.time,
            "confirmed": self.confirmed,
            "confirmed_hash": self.confirmed_hash,
        }


def trial_of(document: Mapping[str, Any]) -> Trial | None:
    """Return the trial that a document tells of, None where it tells of none."""
    match document:
        case {
            "version": 1,
            "config": str(path),
            "hash": str(tried),
            "boot_id": str(boot),
            "until": int() | float() as until,
            "time": int() | float() as time,
            "confirmed": int(confirmed),
            "confirmed_hash": str(confirmed_hash),
        }:
            return Trial(path, tried, BootTime(boot, until, time), confirmed, confirmed_hash)
        case _:
            return None


class StartDecision(Enum):
    """What a start runs."""

    FILES = auto()  # what the files say
    ON_TRIAL = auto()  # the same, on trial still
    ROLLED_BACK = auto()  # what was confirmed: the trial ended while nobody was there to end it
    STILL_REFUSED = auto()  # what was confirmed: the files say what was rolled back before


@dataclass(frozen=True, slots=True)
class RolledBackContent:
    """What was rolled back does not run again by itself: its hash, and the number of what runs instead."""

    hash: str
    confirmed: int

    def as_json(self) -> dict[str, Any]:
        """Return what `refusal_of` reads."""
        return {"version": 1, "hash": self.hash, "confirmed": self.confirmed}


def refusal_of(document: Mapping[str, Any]) -> RolledBackContent | None:
    """Return the refusal that a document tells of, None where it tells of none."""
    match document:
        case {"version": 1, "hash": str(refused), "confirmed": int(confirmed)}:
            return RolledBackContent(refused, confirmed)
        case _:
            return None


def beginning(
    path: str, content: str, trial: Trial | None, refusal: RolledBackContent | None, now: BootTime
) -> StartDecision:
    """Return what a start runs that finds this content (a hash) and these traces of what was before.

    Another content than the one on trial is on trial as well: somebody corrects it. What was confirmed need
    not come back, and a trial of another config than that of `path` is none of this one.
    """
    if trial is not None and trial.path == path:
        if trial.left(now):
            return StartDecision.ON_TRIAL
        if trial.confirmed_hash != content:
            return StartDecision.ROLLED_BACK
    is_refused = refusal is not None and refusal.hash == content
    return StartDecision.STILL_REFUSED if is_refused else StartDecision.FILES
