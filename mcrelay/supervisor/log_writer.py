"""Writes the log to standard error in a thread of its own, so that the supervisor never waits for a reader.

A pipe that nobody reads, a terminal that Ctrl-S has stopped, a journal that hangs and a file on a disk that
hangs block write(2). O_NONBLOCK is no remedy: it belongs to the open file, which the supervisor shares with
the shell that has started it, and a file ignores it. Nor is poll(2): a file is always ready, and a terminal
with room for one byte is ready for a line.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque

from mcrelay.model.os_errors import format_os_error

STANDARD_ERROR = 2
MAX_QUEUED_LINES = 1000
MAX_LINE_BYTES = 16_384  # a longer line is cut, so that the queue takes at most 16 MB
PATIENCE_S = 0.2  # for a line, once: with a reader that reads, the log is not behind what it tells of
EXIT_TIMEOUT_S = 1.0  # for the last lines, at the end of the process

_NOT_IN_TIME = "standard error did not take them in time"


class LogWriter(logging.Handler):
    """Queues the lines of the log for a thread that writes them, and counts the lines that are lost.

    After the next line that can be written, the log tells how many lines were lost, and why.
    """

    def __init__(self, descriptor: int = STANDARD_ERROR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._is_writing = False
        self._is_behind = False  # since a line was not written in time, until all lines are written
        self._lost = 0
        self._cause = ""
        self._changed = threading.Condition()  # is not held during a write
        self._thread: threading.Thread | None = None

    @property
    def loss(self) -> str:
        """The loss that the log has not told yet, such as `3 lines of the log were lost: ...`, or nothing."""
        with self._changed:
            return _describe_loss(self._lost, self._cause)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of a record; count it as lost if the queue is full."""
        line = self._encode(record)
        if self._thread is None:
            # Not earlier, because a thread has the capabilities that the process has at its start.
            self._thread = threading.Thread(target=self._write_lines, name="log", daemon=True)
            self._thread.start()
        with self._changed:
            if len(self._lines) < MAX_QUEUED_LINES:
                self._lines.append(line)
                self._changed.notify_all()
            else:
                self._lost, self._cause = self._lost + 1, _NOT_IN_TIME
            if not self._is_behind:
                self._is_behind = not self._wait_until_written(PATIENCE_S)

    def flush(self) -> None:
        """Wait until all lines are written, for EXIT_TIMEOUT_S at most."""
        with self._changed:
            self._wait_until_written(EXIT_TIMEOUT_S)

    def _wait_until_written(self, timeout: float) -> bool:
        return self._changed.wait_for(lambda: not self._lines and not self._is_writing, timeout)

    def _write_lines(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._is_behind &= bool(self._lines)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                line, self._is_writing = self._lines.popleft(), True
            if self._try_to_write(line) and not self._lines:
                self._tell_loss()

    def _tell_loss(self) -> None:
        with self._changed:
            lost, loss = self._lost, _describe_loss(self._lost, self._cause)
        notice = logging.LogRecord("mcrelay", logging.WARNING, "", 0, loss, None, None)
        if lost and self._try_to_write(self._encode(notice), lines=0):
            with self._changed:
                self._lost -= lost

    def _try_to_write(self, text: bytes, lines: int = 1) -> bool:
        """Write a text; return whether it was written. If it was not, count its `lines` as lost."""
        try:
            self._write(text)
        except OSError as error:
            with self._changed:
                self._lost, self._cause = self._lost + lines, format_os_error(error)
            return False
        return True

    def _write(self, text: bytes) -> None:
        """Write the whole text, however long that takes; raises OSError."""
        while text:
            try:
                text = text[os.write(self._descriptor, text) :]
            except BlockingIOError:  # the process that has started the daemon has set O_NONBLOCK
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()

    def _encode(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode(errors="backslashreplace")[:MAX_LINE_BYTES] + b"\n"


def _describe_loss(lost: int, cause: str) -> str:
    what = "line of the log was" if lost == 1 else "lines of the log were"
    return f"{lost} {what} lost: {cause}" if lost else ""
