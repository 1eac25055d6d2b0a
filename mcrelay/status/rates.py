"""The counters of all workers, as they are and as they were: totals, and how fast they grow."""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcrelay.model.counters import LINKS, MEMORY_SIZE, OUTPUTS, RULES, Table

TABLES = (LINKS, RULES, OUTPUTS)
SPAN = 1.0  # seconds that a rate is measured over, at least
KEPT = 3  # samples: with one a beat, the youngest that is a second old is among them

Rates = tuple[float | None, float | None]  # packets and bits per second; unknown at first
UNKNOWN: Rates = (None, None)


@dataclass(frozen=True, slots=True)
class Column:
    """One count of every row of a table, at one time; a memory each worker."""

    workers: tuple[memoryview, ...]

    def total(self, row: int) -> int:
        """Return the count of a row over all workers."""
        if len(self.workers) == 1:
            return self.workers[0][row]
        return sum([of_worker[row] for of_worker in self.workers])


@dataclass(frozen=True, slots=True)
class Sample:
    """What had passed at a time: packets and octets of each table (by its offset), up to a row."""

    time: float
    workers: int
    packets: Mapping[int, Column]
    octets: Mapping[int, Column]


class Reading:
    """The counts at one moment, beside a sample of a while ago."""

    def __init__(self, memories: Sequence[memoryview], now: float, past: Sample | None) -> None:
        self._memories = memories
        self._past = past
        self._seconds = now - past.time if past else 0.0

    def counts(self, table: Table, row: int | None) -> Sequence[int]:
        """Return the counts of a row over all workers, in the order of the columns."""
        if row is None:
            return [0] * len(table.columns)
        return table.total([table.counts(memory, row) for memory in self._memories])

    def rates(self, table: Table, row: int | None, counts: Sequence[int], since: float) -> Rates:
        """Return how fast the traffic of a row has grown to `counts`; `since` is when it got its owner."""
        past = self._past
        if row is None or past is None or since >= past.time:
            return UNKNOWN
        packets = counts[0] - past.packets[table.offset].total(row)
        octets = counts[1] - past.octets[table.offset].total(row)
        if packets == octets == 0:
            return 0.0, 0
        # A row that was cleared meanwhile, for a rule of the same name, has not grown.
        return max(0.0, round(packets / self._seconds, 1)), max(0, round(8 * octets / self._seconds))


class Counts:
    """The memories that the workers write, and the last few samples of them."""

    def __init__(self) -> None:
        self._memories: dict[int, memoryview] = {}
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._rows = {table.offset: 0 for table in TABLES}

    def add(self, worker: int, descriptor: int) -> None:
        """Take the memory of a worker; its successors write the same one."""
        mapped = mmap.mmap(descriptor, MEMORY_SIZE, prot=mmap.PROT_READ)
        os.close(descriptor)
        self._memories[worker] = memoryview(mapped).cast("Q")

    def use(self, table: Table, row: int | None) -> None:
        """A row is in use: samples are to reach as far."""
        if row is not None:
            self._rows[table.offset] = max(self._rows[table.offset], row + 1)

    def sample(self, now: float) -> None:
        """Remember what has passed until now."""
        packets = {table.offset: self._column(table, "packets") for table in TABLES}
        octets = {table.offset: self._column(table, "octets") for table in TABLES}
        self._samples.append(Sample(now, len(self._memories), packets, octets))

    def _column(self, table: Table, name: str) -> Column:
        first, width = table.place(0, name), len(table.columns)
        stop = first + width * self._rows[table.offset]
        copies = (numbers[first:stop:width].tobytes() for numbers in self._memories.values())
        return Column(tuple(memoryview(copy).cast("Q") for copy in copies))

    def read(self, now: float) -> Reading:
        """Return what there is to read at this moment."""
        # A sample without a memory that has come since would make a leap of its first count.
        past = (one for one in self._samples if one.workers == len(self._memories))
        old_enough = [one for one in past if now - one.time >= SPAN]
        return Reading(tuple(self._memories.values()), now, old_enough[-1] if old_enough else None)
