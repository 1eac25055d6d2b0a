"""Signals, taken by the loop in its turn."""

from __future__ import annotations

import signal
import socket


class Signals:
    """Signals as bytes on a socket, so that the loop answers them in its turn."""

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

    def arrived(self) -> bytes:
        """Return the numbers of the signals that came, one octet each."""
        return self._inbox.recv(64)
