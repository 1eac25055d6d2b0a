"""The counters of all workers, and how fast they grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcrelay.model.counters import LINKS, OUTPUTS, RULES, Table

TABLES = (LINKS, RULES, OUTPUTS)
MIN_SPAN_S = 1.0  # that a rate is measured over
MAX_SAMPLES = 3  # with one a beat, the youngest that is MIN_SPAN_S old is among them

Rates = tuple[float | None, float | None]  # packets and bits per second; None while unknown
UNKNOWN: Rates = (None, None)


@dataclass(frozen=True, slots=True)
class ColumnSample:
    """One counter of every row of a table at one time: a view of 64-bit numbers for each worker."""

    workers: tuple[memoryview, ...]

    def total(self, row: int) -> int:
        """Return the counter of a row, added up over all workers."""
        if len(self.workers) == 1:
            return self.workers[0][row]
        return sum([of_worker[row] for of_worker in self.workers])


@dataclass(frozen=True, slots=True)
class Sample:
    """Packets and octets of all rows at one time (monotonic seconds), by the offset of the table."""

    time: float
    workers: int
    packets: Mapping[int, ColumnSample]
    octets: Mapping[int, ColumnSample]


class Reading:
    """The counters as they are now, beside a sample of at least MIN_SPAN_S ago; None where there is none."""

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
        """Return how fast a row has grown to `counts`, UNKNOWN where the sample is older than its owner.

        `since` is when the row was given to its owner, in monotonic seconds.
        """
        past = self._past
        if row is None or past is None or since >= past.time:
            return UNKNOWN
        packets = counts[0] - past.packets[table.offset].total(row)
        octets = counts[1] - past.octets[table.offset].total(row)
        if packets == octets == 0:
            return 0.0, 0
        # A row that was cleared since, for a rule of the same name, is smaller than in the sample.
        return max(0.0, round(packets / self._seconds, 1)), max(0, round(8 * octets / self._seconds))


class CounterReader:
    """The memories that the workers write their counters to, and the last samples of them."""

    def __init__(self) -> None:
        self._memories: dict[int, memoryview] = {}
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._rows = {table.offset: 0 for table in TABLES}

    def add(self, worker: int, memory: memoryview) -> None:
        """Read the memory of a worker from now on, as octets. A restarted worker writes to the same one."""
        self._memories[worker] = memory.cast("Q")

    def include(self, table: Table, row: int | None) -> None:
        """Include a row in all samples to come."""
        if row is not None:
            self._rows[table.offset] = max(self._rows[table.offset], row + 1)

    def sample(self, now: float) -> None:
        """Keep a sample; `now` is in monotonic seconds."""
        packets = {table.offset: self._column(table, "packets") for table in TABLES}
        octets = {table.offset: self._column(table, "octets") for table in TABLES}
        self._samples.append(Sample(now, len(self._memories), packets, octets))

    def _column(self, table: Table, name: str) -> ColumnSample:
        first, width = table.index(0, name), len(table.columns)
        stop = first + width * self._rows[table.offset]
        copies = (numbers[first:stop:width].tobytes() for numbers in self._memories.values())
        return ColumnSample(tuple(memoryview(copy).cast("Q") for copy in copies))

    def read(self, now: float) -> Reading:
        """Return the counters as they are; `now` is in monotonic seconds."""
        # The first counts of a worker that has come since would look like a burst.
        past = (one for one in self._samples if one.workers == len(self._memories))
        old_enough = [one for one in past if now - one.time >= MIN_SPAN_S]
        return Reading(tuple(self._memories.values()), now, old_enough[-1] if old_enough else None)
