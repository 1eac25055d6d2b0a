"""Standard output and standard error that cannot be written: a full disk, a broken pipe, a lost terminal.

A failed write to standard output raises StreamError, also when Python writes its buffer at the end, so that
it is told from the errors of sockets and files. What cannot be written to standard error is lost: the exit
code still tells the result. A stream that the parent has made non-blocking is waited for.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from mcrelay.model.os_errors import format_os_error

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


class StreamError(Exception):
    """Standard output cannot be written. It is no OSError, which a verb may report as its own failure."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(format_os_error(cause))
        self.is_broken_pipe = isinstance(cause, BrokenPipeError)


def replace_output_streams() -> None:
    """Let failed writes to the standard streams behave as this module describes.

    Streams that a test has replaced stay, except that they show any character.
    """
    sys.stdout = _replace(sys.stdout, STANDARD_OUTPUT, _Output)
    sys.stderr = _replace(sys.stderr, STANDARD_ERROR, _ErrorOutput)


def discard_output() -> None:
    """Redirect standard output to /dev/null, so that Python can write its buffer at exit without an error."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, STANDARD_OUTPUT)
    os.close(null)


def _replace(stream: TextIO, descriptor: int, kind: Callable[[int, TextIO], io.RawIOBase]) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    # The terminal's encoding may lack a character of a file.
    stream.reconfigure(errors="backslashreplace")
    is_buffered = isinstance(stream.buffer, io.BufferedWriter)  # unless PYTHONUNBUFFERED is set
    raw = stream.buffer.raw if is_buffered else stream.buffer
    if not isinstance(raw, io.FileIO) or raw.fileno() != descriptor:
        return stream
    replacement = kind(descriptor, stream)
    return io.TextIOWrapper(
        cast(BinaryIO, io.BufferedWriter(replacement) if is_buffered else replacement),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Output(io.FileIO):
    """Standard output."""

    def __init__(self, descriptor: int, replaced: TextIO) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._replaced = replaced  # kept, because its end may close the descriptor

    def write(self, data: ReadableBuffer) -> int:
        """Write all bytes of `data`, and return their number; raises StreamError."""
        left = memoryview(data).cast("B")
        while left:
            try:
                written = super().write(left)
            except OSError as error:
                raise StreamError(error) from None
            if written is None:  # O_NONBLOCK, and no room
                _wait_for_room(self.fileno())
            else:
                left = left[written:]
        return memoryview(data).nbytes


class _ErrorOutput(_Output):
    """Standard error."""

    def write(self, data: ReadableBuffer) -> int:
        """Write all bytes of `data` if possible, and return their number."""
        try:
            return super().write(data)
        except StreamError:
            return memoryview(data).nbytes


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
