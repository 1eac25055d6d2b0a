"""Memory that workers write and that outlives them: their counters, and the rings of traces."""

from __future__ import annotations

import fcntl
import mmap
import os

from mcrelay.model.counters import MEMORY_SIZE, Table


class Shared:
    """A memfd with two descriptors: one for the worker that writes, and one for whoever may only read."""

    def __init__(self, name: str, size: int) -> None:
        self.descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size)
        # A worker that could make it smaller could end whoever reads it (SIGBUS).
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        self.for_reading = os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        # Whoever has that one could open it anew by the same way, for writing.
        os.fchmod(self.descriptor, 0)

    def close(self) -> None:
        """Let go of it; it lives on where others have it open."""
        os.close(self.descriptor)
        os.close(self.for_reading)


class Memory:
    """The tables of counters.py for one worker. The worker writes, the supervisor reads and clears."""

    def __init__(self, name: str) -> None:
        self.shared = Shared(name, MEMORY_SIZE)
        self._numbers = memoryview(mmap.mmap(self.shared.descriptor, MEMORY_SIZE)).cast("Q")

    def row(self, table: Table, row: int) -> list[int]:
        """Return the counts of a row, in the order of the columns."""
        return table.counts(self._numbers, row)

    def clear(self, table: Table, row: int) -> None:
        """Set a row to zero, for its next owner."""
        first = table.place(row, table.columns[0])
        self._numbers[first : first + len(table.columns)] = memoryview(bytes(8 * len(table.columns))).cast(
            "Q"
        )


def map_read_only(descriptor: int, size: int) -> memoryview:
    """Return the memory behind a descriptor as octets that can only be read; the descriptor is closed."""
    try:
        return memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)
