"""Notifications to systemd (sd_notify(3)). Without a NOTIFY_SOCKET they do nothing."""

from __future__ import annotations

import os
import time
from collections import deque

from sdnotify import SystemdNotifier

RETRY_DELAY_S = 0.5  # from a notification for which the queue of systemd had no room until the next attempt
MAX_UNSENT = 64


class Notifier:
    """Sends the state of the service to the socket in NOTIFY_SOCKET, without waiting until systemd reads.

    A notification for which there is no room is sent later, before all that follow. Of more than MAX_UNSENT,
    the oldest are lost.
    """

    def __init__(self) -> None:
        self._socket = SystemdNotifier().socket
        if self._socket is not None:
            self._socket.setblocking(False)
        self._unsent: deque[str] = deque(maxlen=MAX_UNSENT)
        self.due: float | None = None
        """When to call `send_unsent`, in seconds of the monotonic clock; None while nothing is unsent."""
        self.watchdog_interval = _watchdog_interval()
        """Seconds between two calls of `alive`; None if systemd expects none."""

    def ready(self, status: str) -> None:
        """Report that the start or the last reload is complete."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Report that a reload begins. A call of `ready` reports its end, whatever the result."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the service ends."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """Report that the loop runs, unless an earlier notification waits."""
        if not self._unsent:
            self._send("WATCHDOG=1")

    def send_unsent(self) -> None:
        """Send the notifications that wait, as far as there is room."""
        self.due = None
        while self._unsent:
            try:
                self._socket.send(self._unsent[0].encode())
            except BlockingIOError:
                self.due = time.monotonic() + RETRY_DELAY_S
                return
            except OSError:
                pass  # nobody listens any more
            self._unsent.popleft()

    def _send(self, state: str) -> None:
        if self._socket is not None:
            self._unsent.append(state)
            self.send_unsent()


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
