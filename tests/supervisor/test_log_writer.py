"""The log never waits for its reader: lines are lost and counted, and the log tells how many later."""

import errno
import logging
import os
import pty
import time

import pytest

from mcrelay.lab.command import wait_until
from mcrelay.supervisor import log_writer
from mcrelay.supervisor.log_writer import MAX_LINE_BYTES, MAX_QUEUED_LINES, LogWriter

BIG = "x" * 4000


@pytest.fixture
def pipe():
    """A pipe: the reading and the writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def record(text):
    return logging.LogRecord("mcrelay", logging.INFO, "", 0, text, None, None)


def fill(writer, lines):
    """Log more than a pipe takes; return the seconds that this took."""
    began = time.monotonic()
    for _ in range(lines):
        writer.handle(record(BIG))
    return time.monotonic() - began


def read_until(descriptor, last):
    """Read until a text arrives, and return all lines."""
    text = b""
    while last not in text:
        text += os.read(descriptor, 65_536)
    return text.decode().splitlines()


def test_lines_are_written_in_their_order(pipe):
    reading, writing = pipe
    writer = LogWriter(writing)
    for number in range(100):
        writer.handle(record(f"line {number}"))
    writer.flush()
    assert os.read(reading, 65_536).decode().splitlines() == [f"line {number}" for number in range(100)]
    assert writer.loss == ""


def test_without_a_line_there_is_nothing_to_wait_for(pipe):
    LogWriter(pipe[1]).flush()


def test_a_pipe_that_nobody_reads_costs_lines_which_the_log_counts_and_tells_later(pipe):
    reading, writing = pipe
    writer = LogWriter(writing)
    lines = MAX_QUEUED_LINES + 100
    assert fill(writer, lines) < 30
    lost = int(writer.loss.split()[0])
    assert 0 < lost < 100, "what the pipe has taken is not lost"
    notice = f"{lost} lines of the log were lost: standard error did not take them in time"
    assert writer.loss == notice
    assert read_until(reading, b"lost") == [BIG] * (lines - lost) + [notice]
    writer.flush()
    assert writer.loss == ""
    writer.handle(record("again"))
    assert read_until(reading, b"again") == ["again"]


def test_the_end_of_the_process_waits_only_briefly_for_the_last_lines(pipe, monkeypatch):
    monkeypatch.setattr(log_writer, "EXIT_TIMEOUT_S", 0.1)
    writer = LogWriter(pipe[1])
    fill(writer, 100)
    began = time.monotonic()
    writer.flush()
    assert time.monotonic() - began < 30


def test_a_terminal_that_nobody_reads_costs_lines():
    ours, theirs = pty.openpty()
    writer = LogWriter(theirs)
    fill(writer, MAX_QUEUED_LINES + 10)
    assert "lines of the log were lost" in writer.loss
    assert "lines of the log were lost" in read_until(ours, b"in time\r")[-1]
    os.close(ours)
    os.close(theirs)


def test_a_full_disk_costs_lines_and_is_named():
    full = os.open("/dev/full", os.O_WRONLY)
    writer = LogWriter(full)
    writer.handle(record("one"))
    writer.flush()
    assert writer.loss == "1 line of the log was lost: no space left on device"
    writer.handle(record("two"))
    writer.flush()
    assert writer.loss == "2 lines of the log were lost: no space left on device"
    os.close(full)


def test_a_reader_that_has_gone_costs_lines_until_there_is_another(pipe, monkeypatch):
    reading, writing = pipe
    writer = LogWriter(writing)
    write = os.write

    def refuse(descriptor, text):
        raise OSError(errno.EPIPE, "Broken pipe")

    with monkeypatch.context() as gone:
        gone.setattr(log_writer.os, "write", refuse)
        writer.handle(record("one"))
        writer.flush()
    writer.handle(record("two"))
    assert read_until(reading, b"lost") == ["two", "1 line of the log was lost: broken pipe"]
    assert os.write is write
    writer.flush()
    assert writer.loss == ""


def test_a_descriptor_that_does_not_block_loses_nothing(pipe):
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LogWriter(writing)
    fill(writer, 100)
    writer.handle(record("last"))
    assert read_until(reading, b"last") == [BIG] * 100 + ["last"]


def test_a_line_that_is_too_long_is_cut(pipe):
    reading, writing = pipe
    writer = LogWriter(writing)
    writer.handle(record("y" * (MAX_LINE_BYTES + 1)))
    assert read_until(reading, b"\n") == ["y" * MAX_LINE_BYTES]


def test_the_thread_of_the_log_starts_with_the_first_line(pipe):
    writer = LogWriter(pipe[1])
    assert writer._thread is None
    writer.handle(record("one"))
    wait_until(lambda: writer._thread and writer._thread.is_alive(), "the thread")
