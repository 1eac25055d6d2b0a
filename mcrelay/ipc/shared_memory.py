"""Memory that workers write and that outlives them: their counters, and the rings of traces."""

from __future__ import annotations

import fcntl
import mmap
import os


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


def map_read_only(descriptor: int, size: int) -> memoryview:
    """Return the memory behind a descriptor as octets that can only be read; the descriptor is closed."""
    try:
        return memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))
    finally:
        os.close(descriptor)
