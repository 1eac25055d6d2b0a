"""The counters of all workers, and their rates in packets and bits per second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mcrelay.model.counters import LINKS, MASK, OUTPUTS, RULES, Table

TABLES = (LINKS, RULES, OUTPUTS)
MIN_SPAN_S = 1.0  # the shortest span over which a rate is measured
MAX_SAMPLES = 3  # enough for the latest sample that is MIN_SPAN_S old, with a sample at each heartbeat

Rates = tuple[float | None, float | None]  # packets and bits per second; None while unknown
UNKNOWN: Rates = (None, None)


@dataclass(frozen=True, slots=True)
class ColumnSample:
    """A copy of one column of a counter table, with a view of 64-bit numbers for each worker."""

    workers: tuple[memoryview, ...]

    def total(self, row: int) -> int:
        """Return the counter of a row, added up over all workers."""
        if len(self.workers) == 1:
            return self.workers[0][row]
        return sum([column[row] for column in self.workers]) & MASK


@dataclass(frozen=True, slots=True)
class Sample:
    """The packets and octets of all rows at `time` (monotonic seconds), by the offset of their table.

    `workers` is the number of workers with counters at that time.
    """

    time: float
    workers: int
    packets: Mapping[int, ColumnSample]
    octets: Mapping[int, ColumnSample]


class Reading:
    """Reads the current counters, and computes rates from a sample that is at least MIN_SPAN_S old.

    `past` is None if there is no such sample.
    """

    def __init__(self, memories: Sequence[memoryview], now: float, past: Sample | None) -> None:
        self._memories = memories
        self._past = past
        self._seconds = now - past.time if past else 0.0

    def counts(self, table: Table, row: int | None) -> Sequence[int]:
        """Return the counters of a row, added up over all workers, in the order of the table's columns."""
        if row is None:
            return [0] * len(table.columns)
        return table.total([table.counts(memory, row) for memory in self._memories])

    def rates(self, table: Table, row: int | None, counts: Sequence[int], since: float) -> Rates:
        """Return the rates of a row whose current counters are `counts`.

        `since` is the time at which the rule, output or interface got the row, in monotonic seconds. Return
        UNKNOWN if the sample was taken before that time.
        """
        past = self._past
        if row is None or past is None or since >= past.time:
            return UNKNOWN
        packets = counts[0] - past.packets[table.offset].total(row)
        octets = counts[1] - past.octets[table.offset].total(row)
        if packets == octets == 0:
            return 0.0, 0
        # The counters are smaller than in the sample if the row was cleared for a new rule of the same name.
        return max(0.0, round(packets / self._seconds, 1)), max(0, round(8 * octets / self._seconds))


class CounterReader:
    """Reads the memories to which the workers write their counters, and keeps the last samples of these."""

    def __init__(self, refresh: Callable[[Mapping[int, int]], None] = lambda rows: None) -> None:
        """`refresh` is called before the counters are read, to bring a memory up to date.

        It gets the number of rows that are read, the first ones of each table, by the table's offset.
        """
        self._refresh = refresh
        self._memories: dict[int, memoryview] = {}
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._rows = {table.offset: 0 for table in TABLES}

    def add(self, worker: int, memory: memoryview) -> None:
        """Add the memory of a worker, as a view of octets. A restarted worker keeps its memory."""
        self._memories[worker] = memory.cast("Q")

    def include(self, table: Table, row: int | None) -> None:
        """Include a row in all later samples."""
        if row is not None:
            self._rows[table.offset] = max(self._rows[table.offset], row + 1)

    def sample(self, now: float) -> None:
        """Record a sample; `now` is in monotonic seconds."""
        self._refresh(self._rows)
        packets = {table.offset: self._column(table, "packets") for table in TABLES}
        octets = {table.offset: self._column(table, "octets") for table in TABLES}
        self._samples.append(Sample(now, len(self._memories), packets, octets))

    def _column(self, table: Table, name: str) -> ColumnSample:
        first, width = table.index(0, name), len(table.columns)
        stop = first + width * self._rows[table.offset]
        copies = (numbers[first:stop:width].tobytes() for numbers in self._memories.values())
        return ColumnSample(tuple(memoryview(copy).cast("Q") for copy in copies))

    def read(self, now: float) -> Reading:
        """Return a reading of the current counters; `now` is in monotonic seconds."""
        self._refresh(self._rows)
        # The first counts of a worker that was added since the sample would look like a burst.
        comparable = (sample for sample in self._samples if sample.workers == len(self._memories))
        old_enough = [sample for sample in comparable if now - sample.time >= MIN_SPAN_S]
        return Reading(tuple(self._memories.values()), now, old_enough[-1] if old_enough else None)
