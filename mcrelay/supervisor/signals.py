"""Signals as bytes on a socket, which the loop polls like any other descriptor."""

from __future__ import annotations

import signal
import socket

MAX_SIGNALS_PER_READ = 64


class Signals:
    """Collects signals of the given numbers from its creation on."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._inbox, self._outbox = socket.socketpair()
        for end in (self._inbox, self._outbox):
            end.setblocking(False)
        signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._inbox.fileno()

    def read(self) -> bytes:
        """Return the numbers of the signals that have arrived, one byte for each signal."""
        return self._inbox.recv(MAX_SIGNALS_PER_READ)
