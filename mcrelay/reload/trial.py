"""A trial: a configuration that runs until an operator confirms it or until its end.

At the end of a trial the previously confirmed configuration is restored, even if the daemon died in the
meantime, because the next start reads the trial from the state directory. A reboot ends every trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

MAX_TRIAL_S = 86_400.0


@dataclass(frozen=True, slots=True)
class BootTime:
    """A time in seconds since the boot with the ID `boot`, time in suspend included (CLOCK_BOOTTIME).

    `time` is the same time in seconds since 1970, according to the setting of the clock at that time.
    """

    boot: str
    seconds: float
    time: float = 0.0

    def later(self, seconds: float) -> BootTime:
        """Return the time `seconds` later."""
        return BootTime(self.boot, self.seconds + seconds, self.time + seconds)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that lasts until `end`.

    `path` is the path of the main file, and `hash` the hash of the contents on trial. `confirmed` is the
    number of the history entry that is restored after the trial, and `confirmed_hash` the hash of its
    contents.
    """

    path: str
    hash: str
    end: BootTime
    confirmed: int
    confirmed_hash: str

    def left(self, now: BootTime) -> float:
        """Return the seconds until the end; 0 if the end is past, of another boot, or too far ahead."""
        left = self.end.seconds - now.seconds
        return left if self.end.boot == now.boot and 0 < left <= MAX_TRIAL_S else 0.0

    def with_hash(self, tried: str) -> Trial:
        """Return the same trial with another hash of its contents."""
        return replace(self, hash=tried)

    def with_end(self, end: BootTime) -> Trial:
        """Return the same trial with another end."""
        return replace(self, end=end)

    def as_json(self) -> dict[str, Any]:
        """Return the document that `parse_trial` reads."""
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


def parse_trial(document: Mapping[str, Any]) -> Trial | None:
    """Return the trial in a document, or None if the document is not a trial of this version."""
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
    """The contents that a start of the daemon runs."""

    FILES = auto()  # the files
    ON_TRIAL = auto()  # the files, still on trial
    ROLLED_BACK = auto()  # the confirmed configuration, because the trial ended while no daemon ran
    STILL_REFUSED = auto()  # the confirmed configuration, because these contents were rolled back before


@dataclass(frozen=True, slots=True)
class RolledBackContent:
    """The hash of contents that were rolled back, and the number of the history entry that replaced them.

    A start does not run such contents; an explicit reload does.
    """

    hash: str
    confirmed: int

    def as_json(self) -> dict[str, Any]:
        """Return the document that `parse_rolled_back` reads."""
        return {"version": 1, "hash": self.hash, "confirmed": self.confirmed}


def parse_rolled_back(document: Mapping[str, Any]) -> RolledBackContent | None:
    """Return the rolled-back content in a document, or None if the document is not one of this version."""
    match document:
        case {"version": 1, "hash": str(refused), "confirmed": int(confirmed)}:
            return RolledBackContent(refused, confirmed)
        case _:
            return None


def decide_start(
    path: str, content: str, trial: Trial | None, rolled_back: RolledBackContent | None, now: BootTime
) -> StartDecision:
    """Return the contents that a start runs if its main file is `path` and its files have the hash `content`.

    `trial` and `rolled_back` are from the state directory. While a trial lasts, all contents are on trial,
    because the operator may be correcting them. After a trial, the confirmed contents need no rollback. A
    trial of another main file is ignored.
    """
    if trial is not None and trial.path == path:
        if trial.left(now):
            return StartDecision.ON_TRIAL
        if trial.confirmed_hash != content:
            return StartDecision.ROLLED_BACK
    is_refused = rolled_back is not None and rolled_back.hash == content
    return StartDecision.STILL_REFUSED if is_refused else StartDecision.FILES
