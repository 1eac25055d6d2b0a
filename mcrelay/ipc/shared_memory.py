"""Shared memory that outlives the worker that writes it: counters, and the rings of traces."""

from __future__ import annotations

import fcntl
import mmap
import os


class SharedMemory:
    """A memfd with two descriptors: `descriptor` for the writer, `for_reading` for other processes."""

    def __init__(self, name: str, size: int) -> None:
        self.descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size)
        # A worker that could shrink it could end the processes that read it (SIGBUS).
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        self.for_reading = os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        # Without any permission, a process cannot open `for_reading` again for writing, in the same way.
        os.fchmod(self.descriptor, 0)

    def close(self) -> None:
        """Close both descriptors. The memory lives on while other processes have it open."""
        os.close(self.descriptor)
        os.close(self.for_reading)


def map_read_only(descriptor: int, size: int) -> memoryview:
    """Map `size` bytes of a memfd for reading, and close the descriptor; raises OSError."""
    try:
        return memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)
