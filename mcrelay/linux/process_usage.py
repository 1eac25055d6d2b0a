"""What processes use of the machine, from /proc/PID/stat (proc(5))."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

SPAN = 1.0  # seconds that a percentage is measured over, at least
KEPT = 3  # samples: with one a beat, the youngest that is a second old is among them

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Places behind the name, which is in brackets and may itself contain any: fields 14, 15 and 24 of proc(5).
_UTIME, _STIME, _RSS = 11, 12, 21


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU time since its start, and octets of memory at the moment."""

    cpu_seconds: float
    memory_octets: int


def usage(pid: int) -> Usage | None:
    """Return what a process has used; None where it has ended, or is not shown to this user."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Usage((int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS, int(fields[_RSS]) * _PAGE)


class Usages:
    """The last few samples of what processes had used, for percentages."""

    def __init__(self, used: Callable[[int], Usage | None] = usage) -> None:
        self.used = used
        """What a process has used until now."""
        self._samples: deque[tuple[float, dict[int, Usage]]] = deque(maxlen=KEPT)

    def sample(self, pids: Iterable[int], now: float) -> None:
        """Remember what processes have used until now."""
        self._samples.append((now, {pid: used for pid in pids if (used := self.used(pid))}))

    def percent(self, pid: int, used: Usage, now: float) -> float | None:
        """Return how much of one CPU a process takes, None where it is too young to say."""
        past = [(time, sample[pid]) for time, sample in self._samples if pid in sample and now - time >= SPAN]
        if not past:
            return None
        time, before = past[-1]
        return max(0.0, round(100 * (used.cpu_seconds - before.cpu_seconds) / (now - time), 1))
