"""The counters of the kernel data plane, as the memory of one more worker."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping

from mcrelay.kernel.counters import CounterReader
from mcrelay.kernel.maps import possible_cpus
from mcrelay.model.counters import COUNTERS_SIZE
from mcrelay.protocol.control import KernelCounters


class KernelCounterMemory:
    """Copies the counters of the kernel into a memory that has the layout of a worker's."""

    def __init__(self, add: Callable[[memoryview], None]) -> None:
        """`add` gets the memory each time that the kernel data plane is new."""
        self._add = add
        self._plane: int | None = None
        self._reader: CounterReader | None = None
        self._numbers = memoryview(b"")

    def include(self, message: KernelCounters, descriptor: int) -> None:
        """Include a part of the counters, and close its descriptor; raises OSError."""
        if message.plane != self._plane:
            self._plane, self._reader = message.plane, CounterReader(possible_cpus())
            memory = memoryview(mmap.mmap(-1, COUNTERS_SIZE))
            self._numbers = memory.cast("Q")
            self._add(memory)
        assert self._reader is not None
        try:
            self._reader.add(message.name, descriptor)
        finally:
            os.close(descriptor)

    def refresh(self, rows: Mapping[int, int]) -> None:
        """Bring the first rows of each table up to date; `rows` has their number by the table's offset."""
        if self._reader is not None:
            self._reader.copy_to(self._numbers, rows)
