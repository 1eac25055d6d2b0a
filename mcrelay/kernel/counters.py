"""Reads the counters of the kernel data plane as rows of the tables of model/counters.py.

The program counts in segments of memory (layout.py), which any process may map for reading that has their
descriptors. So a row of the program and the rows of the workers add up (`Table.total`).
"""

from __future__ import annotations

import mmap
import struct
import time

from mcrelay.kernel import bpf, layout
from mcrelay.kernel.layout import COLD_COLUMNS, COUNT, HOT_COLUMNS, SEGMENT
from mcrelay.model.counters import OUTPUTS, Table
from mcrelay.model.send_errors import SEND_ERROR_NAMES

_LINK_HEADER = bytes(14)


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
        offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for name in counts:
            if name.endswith("_time") and counts[name]:
                counts[name] += offset
        if table is OUTPUTS and counts.get("last_error_time"):
            counts["last_error"] = SEND_ERROR_NAMES.index(layout.SEND_ERRORS[counts["last_error"]])
        return [counts.get(name, 0) for name in table.columns]

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


def _address_number(word: int) -> int:
    """Return the number of an address that the program has copied from a packet."""
    return int.from_bytes(struct.pack("=I", word), "big")
