"""What systemd is told (sd_notify(3)); nothing where mcrelay is no service."""

from __future__ import annotations

import os
import socket
import struct
import time

from sdnotify import SystemdNotifier

PATIENCE = 1  # seconds in which systemd is to take a message; its queue is full only where it hangs itself


class Notifier:
    """Speaks to the socket in NOTIFY_SOCKET."""

    def __init__(self) -> None:
        self._systemd = SystemdNotifier()
        if self._systemd.socket is not None:
            patience = struct.pack(
                "ll", PATIENCE, 0
            )  # struct timeval: workers die, whether systemd lives or not
            self._systemd.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self.watchdog_pause = _watchdog_pause()
        """Seconds between signs of life, None where systemd wants none."""

    def ready(self, status: str) -> None:
        """What was asked for has been done."""
        self._systemd.notify(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, whatever its verdict."""
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service ends."""
        self._systemd.notify("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """The loop turns."""
        self._systemd.notify("WATCHDOG=1")


def _watchdog_pause() -> float | None:
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 2_000_000
    except (KeyError, ValueError):
        return None


def _line(status: str) -> str:
    """Return a status as one line of ASCII: sdnotify encodes nothing else."""
    return " ".join(status.split()).encode("ascii", "replace").decode()
