"""What a child process writes to its standard error, as lines of the log.

A child writes into a pipe of its own. A write to the full pipe fails at once, so that no child hangs with its
last words. Only the thread of the log writes to the standard error of the daemon, which may block.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mcrelay.model.printable import make_printable

log = logging.getLogger("mcrelay")

READ_BYTES = 16_384  # of one child, before other events have their turn
MAX_LINE_BYTES = 4096  # a line that is longer, and has not ended, becomes several


class ChildOutput:
    """The supervisor's end of the pipe from the standard error of a child."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begun = b""  # a line whose end has not arrived

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._descriptor

    def log_lines(self) -> bool:
        """Log the lines that have arrived; return False if there is nothing, or the child has exited."""
        try:
            text = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        *lines, self._begun = (self._begun + text).split(b"\n")
        if not text or len(self._begun) > MAX_LINE_BYTES:
            lines, self._begun = [*lines, self._begun], b""
        for line in filter(None, lines):
            log.warning("%s", make_printable(line.decode(errors="replace")))
        return bool(text)

    def close(self) -> None:
        """Log the last lines of a child that has exited, and close the pipe."""
        while self.log_lines():
            pass
        os.close(self._descriptor)


@contextmanager
def open_pipe() -> Iterator[tuple[ChildOutput, int]]:
    """Yield the supervisor's end of a new pipe, and the descriptor for the child that the block starts."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield ChildOutput(reading), writing
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
