"""CPU time and memory of the processes, and the share of a CPU that each used in the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

MIN_SPAN_S = 1.0  # the shortest span over which a percentage is measured
MAX_SAMPLES = 3  # enough for the latest sample that is MIN_SPAN_S old, with a sample at each heartbeat


@dataclass(frozen=True, slots=True)
class Usage:
    """The CPU time that a process has used since its start, in seconds, and its current memory, in octets."""

    cpu_seconds: float
    memory_octets: int


class UsageHistory:
    """Keeps the last samples of the usage of all processes, by process ID."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[int, Usage]]] = deque(maxlen=MAX_SAMPLES)

    def sample(self, usages: Mapping[int, Usage], now: float) -> None:
        """Record a sample; `now` is in monotonic seconds."""
        self._samples.append((now, usages))

    def cpu_percent(self, pid: int, usage: Usage, now: float) -> float | None:
        """Return the percentage of one CPU that a process uses, or None if no sample is old enough."""
        past = [
            (time, sample[pid])
            for time, sample in self._samples
            if pid in sample and now - time >= MIN_SPAN_S
        ]
        if not past:
            return None
        time, before = past[-1]
        return max(0.0, round(100 * (usage.cpu_seconds - before.cpu_seconds) / (now - time), 1))
