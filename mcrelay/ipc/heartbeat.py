"""The sign of life of a process that is told nothing: it writes now and then, and whoever is awake looks."""

from __future__ import annotations

import os

OCTETS = 8  # of what it writes


class HeartbeatReader:
    """A file in memory. It wakes nobody, and whatever a process does with its end, a look returns at once."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("mcrelay-pulse", os.MFD_CLOEXEC)
        self._seen = b""
        self.silent_since: float | None = None
        """The first look since which nothing new was seen; None where the last one saw something."""

    def fileno(self) -> int:
        """Return the descriptor that the process is to write to."""
        return self._descriptor

    def look(self, now: float) -> None:
        """See whether it has written since the last time."""
        found = os.pread(self._descriptor, OCTETS, 0)
        if found != self._seen:
            self._seen, self.silent_since = found, None
        elif self.silent_since is None:
            self.silent_since = now

    def forget(self) -> None:
        """The process is gone, and what its successor does is another matter."""
        self.silent_since = None
