"""The sign of life that the supervisor looks for, in a file in memory that it gave."""

from __future__ import annotations

import os


class HeartbeatWriter:
    """A number that grows."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._beats = 0

    def give(self, descriptor: int) -> None:
        """Write there from now on; owns the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def beat(self) -> None:
        """Show that this process lives."""
        if self._descriptor is not None:
            self._beats += 1
            os.pwrite(self._descriptor, self._beats.to_bytes(8), 0)
