"""Finds processes that stand still: a signal has stopped them, or they do not take the work that waits.

The checks are counted, not the seconds: if the whole host stood (a paused virtual machine, a suspended
laptop), every process gets the time of several checks to go on. Times are in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

CHECK_INTERVAL_S = 1.0  # between two checks while a process has work, or stands
MAX_CHECKS = (
    4  # in a row that find a process standing; a busy host does not keep a process waiting for so long
)

_MIN_INTERVAL_S = 0.9 * CHECK_INTERVAL_S  # an earlier check is not counted


@dataclass(frozen=True, slots=True)
class ProcessObservation:
    """What a check has found of a process."""

    is_stopped: bool = False
    """Whether a signal has stopped the process (SIGSTOP)."""
    has_packets: bool = False
    """Whether packets wait for the process."""
    has_batch: bool = False
    """Whether a batch waits for the process, which neither runs nor waits for a processor or a disk."""
    progress: Hashable = None
    """A value that changes with every packet that the process takes, or with its work on a batch."""

    @property
    def has_work(self) -> bool:
        """Whether something waits for the process."""
        return self.has_packets or self.has_batch


@dataclass(slots=True)
class _Record:
    last: ProcessObservation
    checks: int = 0
    """The number of checks in a row that have found the process standing."""
    since: float = 0.0
    """When the first of them was."""
    counted: float = 0.0
    """When the last of them was."""


class StandstillDetector:
    """Compares the observations of each check with those of the check before."""

    def __init__(self) -> None:
        self._records: dict[int, _Record] = {}
        self.is_active = False
        """Whether the last check found work or a process that stands, so that the next one is due soon."""

    def check(self, observations: Mapping[int, ProcessObservation], now: float) -> dict[int, str]:
        """Take the observations of all processes, by process ID; return why which of them stand still."""
        before, self._records, self.is_active = self._records, {}, False
        for pid, found in observations.items():
            record = self._records[pid] = before.get(pid) or _Record(found)
            has_advanced = found.progress != record.last.progress
            # A process that was not known at the check before has had no time to take its packets.
            stands = found.is_stopped or (found.has_work and not has_advanced and pid in before)
            _count(record, stands, now)
            record.last = found
            self.is_active |= found.is_stopped or found.has_work or has_advanced
        return {
            pid: _describe(record, now)
            for pid, record in self._records.items()
            if record.checks >= MAX_CHECKS
        }


def _count(record: _Record, stands: bool, now: float) -> None:
    if not stands:
        record.checks = 0
    elif not record.checks or now - record.counted >= _MIN_INTERVAL_S:
        record.since = record.since if record.checks else now
        record.checks, record.counted = record.checks + 1, now


def _describe(record: _Record, now: float) -> str:
    work = "a batch" if record.last.has_batch else "packets"
    why = "a signal had stopped it" if record.last.is_stopped else f"{work} waited for it"
    return f"it stood still for {now - record.since:.0f} s while {why}"
