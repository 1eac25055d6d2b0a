"""A heartbeat: one process writes a growing number to a memfd, which another process reads.

No message is sent, so that the heartbeat wakes no process.
"""

from __future__ import annotations

import os

HEARTBEAT_BYTES = 8  # an unsigned number, big-endian


class HeartbeatWriter:
    """Writes the heartbeat of the process that is watched."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._beats = 0

    def write_to(self, descriptor: int) -> None:
        """Use this memfd from now on. Takes ownership of the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def beat(self) -> None:
        """Write the next number; does nothing without a descriptor."""
        if self._descriptor is not None:
            self._beats += 1
            os.pwrite(self._descriptor, self._beats.to_bytes(HEARTBEAT_BYTES), 0)


class HeartbeatReader:
    """Checks the heartbeat of another process, without ever waiting for that process."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("mcrelay-heartbeat", os.MFD_CLOEXEC)
        self._last = b""
        self.silent_since: float | None = None
        """The time of the first check since the last new number; None if the last check found one."""

    def fileno(self) -> int:
        """Return the descriptor for the writer."""
        return self._descriptor

    def check(self, now: float) -> None:
        """Read the number, and update `silent_since`; `now` is in seconds."""
        found = os.pread(self._descriptor, HEARTBEAT_BYTES, 0)
        if found != self._last:
            self._last, self.silent_since = found, None
        elif self.silent_since is None:
            self.silent_since = now

    def reset(self) -> None:
        """Set `silent_since` to None, for the successor of a writer that has exited."""
        self.silent_since = None
