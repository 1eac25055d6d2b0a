"""Notifications to systemd (sd_notify(3)). Without a NOTIFY_SOCKET they do nothing."""

from __future__ import annotations

import os
import socket
import struct
import time

from sdnotify import SystemdNotifier

SEND_TIMEOUT_S = 1  # systemd's queue is full only if systemd itself hangs


class Notifier:
    """Sends the state of the service to the socket in NOTIFY_SOCKET."""

    def __init__(self) -> None:
        self._systemd = SystemdNotifier()
        if self._systemd.socket is not None:
            # The supervisor must go on to watch its workers if systemd does not read.
            timeout = struct.pack("ll", SEND_TIMEOUT_S, 0)  # struct timeval
            self._systemd.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self.watchdog_interval = _watchdog_interval()
        """Seconds between two calls of `alive`; None if systemd expects none."""

    def ready(self, status: str) -> None:
        """Report that the start or the last reload is complete."""
        self._systemd.notify(f"READY=1\nSTATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Report that a reload begins. A call of `ready` reports its end, whatever the result."""
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the service ends."""
        self._systemd.notify("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """Report that the loop runs."""
        self._systemd.notify("WATCHDOG=1")


def _watchdog_interval() -> float | None:
    """Return half of the time that sd_watchdog_enabled(3) gives this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 2_000_000
    except (KeyError, ValueError):
        return None


def _one_line(status: str) -> str:
    """Return a status as one line of ASCII, the only encoding of sdnotify."""
    return " ".join(status.split()).encode("ascii", "replace").decode()
