"""Reads the counters of the kernel data plane as rows of the tables of model/counters.py.

The program counts in segments of memory (layout.py), which any process may map for reading that has their
descriptors. So a row of the program and the rows of the workers add up (`Table.total`).
"""

from __future__ import annotations

import mmap
import struct
import time
from array import array
from collections.abc import Iterator, Mapping

from mcrelay.kernel import bpf, layout
from mcrelay.kernel.layout import COLD_COLUMNS, COUNT, HOT_COLUMNS, SEGMENT
from mcrelay.model.counters import OUTPUTS, Table
from mcrelay.model.send_errors import SEND_ERROR_NAMES

_LINK_HEADER = bytes(14)
_ERROR_NUMBERS = [SEND_ERROR_NAMES.index(name) for name in layout.SEND_ERRORS]


class CounterReader:
    """Reads the counters in the segments that it was given."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self._hot: dict[int, memoryview] = {}
        self._cold: dict[int, memoryview] = {}

    def add(self, name: str, descriptor: int) -> None:
        """Map a segment `hot-N` or `cold-N`, or do nothing for another map; raises OSError."""
        kind, _, number = name.rpartition("-")
        segments = {"hot": self._hot, "cold": self._cold}.get(kind)
        if segments is not None and int(number) not in segments:
            columns = HOT_COLUMNS * self._cpus if kind == "hot" else COLD_COLUMNS
            memory = mmap.mmap(descriptor, columns * SEGMENT * COUNT, prot=mmap.PROT_READ)
            segments[int(number)] = memoryview(memory).cast("Q")

    def row(self, table: Table, row: int) -> list[int]:
        """Return the counts of a row in the order of the columns; a segment that is missing has zeros.

        Times are those of CLOCK_REALTIME, in nanoseconds.
        """
        cell = layout.cell(table, row)
        counts = {**self._read_hot(table, cell), **self._read_cold(table, cell)}
        offset = _clock_offset()
        for name in counts:
            if name.endswith("_time") and counts[name]:
                counts[name] += offset
        if table is OUTPUTS and counts.get("last_error_time"):
            counts["last_error"] = _ERROR_NUMBERS[counts["last_error"]]
        return [counts.get(name, 0) for name in table.columns]

    def rows_in_use(self) -> Iterator[tuple[Table, int]]:
        """Yield each row with a count that is not zero."""
        used = {number * SEGMENT + at for number in self._hot for at in self._nonzero(number)}
        return map(layout.table_row, sorted(used))

    def _nonzero(self, segment: int) -> set[int]:
        """Return which cells of a segment have a count, by their place in it."""
        hot, cold = self._hot[segment], self._cold.get(segment)
        columns = [hot[column::HOT_COLUMNS].tolist() for column in range(HOT_COLUMNS)]
        found = {place % SEGMENT for counts in columns for place, count in enumerate(counts) if count}
        if cold is not None:
            columns = [cold[column::COLD_COLUMNS].tolist() for column in range(COLD_COLUMNS)]
            found |= {place for counts in columns for place, count in enumerate(counts) if count}
        return found

    def copy_to(self, numbers: memoryview, rows: Mapping[int, int]) -> None:
        """Write the counters into the memory of a worker (model/counters.py), seen as 64-bit numbers.

        `rows` has the number of rows in use, the first ones of a table, by the table's offset.
        """
        offset = _clock_offset()
        for segment in self._hot:
            table, row = layout.table_row(segment * SEGMENT)
            if (count := min(SEGMENT, rows[table.offset] - row)) > 0:
                self._copy(numbers, table, row, self._sum_hot(table, segment, count), offset)
        for segment, memory in self._cold.items():
            table, row = layout.table_row(segment * SEGMENT)
            if (count := min(SEGMENT, rows[table.offset] - row)) > 0:
                columns = {
                    name: memory[at : count * COLD_COLUMNS : COLD_COLUMNS].tolist()
                    for at, name in enumerate(layout.COLD[id(table)])
                    if name
                }
                self._copy(numbers, table, row, columns, offset)

    def _sum_hot(self, table: Table, segment: int, count: int) -> dict[str, list[int]]:
        """Return the columns of the first rows of a segment over all CPUs."""
        names, memory, size = layout.HOT[id(table)], self._hot[segment], SEGMENT * HOT_COLUMNS
        parts = [
            [
                memory[first + at : first + count * HOT_COLUMNS : HOT_COLUMNS].tolist()
                for at in range(len(names))
            ]
            for first in range(0, self._cpus * size, size)
        ]
        columns = dict(
            zip(
                names,
                (list(map(sum, zip(*of_cpu, strict=True))) for of_cpu in zip(*parts, strict=True)),
                strict=True,
            )
        )
        if "last_time" in names:
            time_at, source_at = names.index("last_time"), names.index("last_source")
            latest = [
                max((part[time_at][row], part[source_at][row]) for part in parts) for row in range(count)
            ]
            columns["last_time"] = [moment for moment, _ in latest]
            columns["last_source"] = [_address_number(word) if moment else 0 for moment, word in latest]
        return columns

    def _copy(
        self, numbers: memoryview, table: Table, row: int, columns: dict[str, list[int]], offset: int
    ) -> None:
        width = len(table.columns)
        if table is OUTPUTS and "last_error" in columns:
            times = columns["last_error_time"]
            codes = zip(columns["last_error"], times, strict=True)
            columns["last_error"] = [_ERROR_NUMBERS[code] if moment else 0 for code, moment in codes]
        for name, values in columns.items():
            if name.endswith("_time"):
                values = [moment + offset if moment else 0 for moment in values]
            first = table.index(row, name)
            numbers[first : first + (len(values) - 1) * width + 1 : width] = array("Q", values)

    def _read_hot(self, table: Table, cell: int) -> dict[str, int]:
        numbers = self._hot.get(cell // SEGMENT)
        if numbers is None:
            return {}
        columns = layout.HOT[id(table)]
        first, step = cell % SEGMENT * HOT_COLUMNS, SEGMENT * HOT_COLUMNS
        by_cpu = [numbers[first + column :: step].tolist() for column in range(len(columns))]
        counts = {name: sum(values) for name, values in zip(columns, by_cpu, strict=True)}
        if "last_time" in columns:
            of_cpu = dict(zip(columns, by_cpu, strict=True))
            latest = max(zip(of_cpu["last_time"], of_cpu["last_source"], strict=True))
            counts["last_time"], counts["last_source"] = latest[0], _address_number(latest[1])
        return counts

    def _read_cold(self, table: Table, cell: int) -> dict[str, int]:
        numbers = self._cold.get(cell // SEGMENT)
        if numbers is None:
            return {}
        first = cell % SEGMENT * COLD_COLUMNS
        columns = layout.COLD[id(table)]
        return dict(zip(columns, numbers[first : first + len(columns)].tolist(), strict=True))


def clear(program: int, table: Table, row: int, cpus: int) -> None:
    """Set the counts of a row to zero, for its next owner, by the program `clear`; raises OSError."""
    for cpu in range(cpus):
        bpf.run_program(program, _LINK_HEADER + struct.pack("=II", layout.cell(table, row), cpu))


def _clock_offset() -> int:
    """Return what the time of day is ahead of the program's clock, in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _address_number(word: int) -> int:
    """Return the number of an address that the program has copied from a packet."""
    return int.from_bytes(struct.pack("=I", word), "big")
