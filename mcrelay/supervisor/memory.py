"""The counters of one worker: memory that outlives the worker."""

from __future__ import annotations

import fcntl
import mmap
import os

from mcrelay.counters import MEMORY_SIZE, Table


class Memory:
    """A memfd with the tables of counters.py. The worker writes to it, the supervisor reads and clears."""

    def __init__(self, name: str) -> None:
        self.descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, MEMORY_SIZE)
        # A worker that could make it smaller could end whoever reads it (SIGBUS).
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        self._numbers = memoryview(mmap.mmap(self.descriptor, MEMORY_SIZE)).cast("Q")

    def row(self, table: Table, row: int) -> list[int]:
        """Return the counts of a row, in the order of the columns."""
        return table.counts(self._numbers, row)

    def clear(self, table: Table, row: int) -> None:
        """Set a row to zero, for its next owner."""
        first = table.place(row, table.columns[0])
        self._numbers[first : first + len(table.columns)] = memoryview(bytes(8 * len(table.columns))).cast(
            "Q"
        )
