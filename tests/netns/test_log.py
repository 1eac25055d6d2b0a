"""The relay goes on whatever becomes of its log: a full pipe, a stopped terminal, a full disk."""

import fcntl
import os
import pty
import signal
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import TIMEOUT_S, wait_until

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
MANY = [
    f"other-{n}: {{input: {{interface: studio, group: 239.1.2.{n}, port: 5001}},"
    f" outputs: [{{interface: right, group: 239.3.2.{n}}}]}}"
    for n in range(200)
]
CTRL_S, CTRL_Q = b"\x13", b"\x11"


@contextmanager
def full_pipe():
    """A pipe of one page that is full."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, b"full\n"):
            pass
    os.set_blocking(writing, True)
    yield reading, writing
    os.close(reading)
    os.close(writing)


@contextmanager
def stopped_terminal():
    """A terminal at which a user has typed Ctrl-S."""
    ours, theirs = pty.openpty()
    os.write(ours, CTRL_S)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@contextmanager
def unread_journal():
    """A stream socket to a journal that reads nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            while theirs.send(b"full\n" * 1000):
                pass
        theirs.setblocking(True)
        yield ours.fileno(), theirs.fileno()


@contextmanager
def full_disk():
    """A file on a disk without room."""
    full = os.open("/dev/full", os.O_WRONLY)
    yield None, full
    os.close(full)


def read_log(descriptor, last):
    """Read the log until `last` arrives, and return it."""
    text, deadline = "", time.monotonic() + TIMEOUT_S
    os.set_blocking(descriptor, False)
    while last not in text:
        assert time.monotonic() < deadline, text[-2000:]
        try:
            text += os.read(descriptor, 65_536).decode()
        except BlockingIOError:
            time.sleep(0.01)
    return text


def lose_lines(relay):
    """Let the daemon log more lines than wait for a reader."""
    for _ in range(4):
        relay.process.send_signal(signal.SIGUSR1)
        assert relay.ask("status").returncode == 0
        assert "unchanged" in relay.reload()


@pytest.mark.planes("userspace")
@pytest.mark.parametrize("standard_error", [full_pipe, stopped_terminal, unread_journal, full_disk])
def test_a_log_that_takes_no_line_stops_nothing(studio, standard_error):
    with standard_error() as (_, writing), studio.relaying(FEED, *MANY, stderr=writing) as relay:
        lose_lines(relay)
        # A worker that dies is replaced, also with last words.
        (killed,) = relay.workers()
        os.kill(killed, signal.SIGABRT)
        wait_until(lambda: relay.workers() not in ([], [killed]), "another worker")
        assert "applied" in relay.reload(studio.config(FEED.replace("6001", "6002"), *MANY))
        left = Receiver(studio.left, "239.2.2.2:6002")
        studio.send("239.1.1.1:5001", count=100, rate=1000)
        assert left.report().received == 100
        assert relay.stop() < TIMEOUT_S
        assert relay.process.returncode == 0


@pytest.mark.parametrize(("standard_error", "resume"), [(full_pipe, b""), (stopped_terminal, CTRL_Q)])
def test_a_reader_that_comes_back_is_told_how_many_lines_it_has_missed(studio, standard_error, resume):
    with (
        standard_error() as (reading, writing),
        studio.relaying(FEED, *MANY, stderr=writing) as relay,
    ):
        lose_lines(relay)
        if resume:
            os.write(reading, resume)
        text = read_log(reading, "in time")
        assert "mcrelay: generation 1 of" in text
        notice = text.splitlines()[-1]
        assert notice.endswith("lines of the log were lost: standard error did not take them in time")
        assert int(notice.split()[1]) > 100
        relay.reload(studio.config(FEED))
        read_log(reading, "applied: generation")


def test_the_shell_at_the_same_terminal_keeps_its_blocking_descriptor(studio):
    with full_pipe() as (_, writing), studio.relaying(FEED, stderr=writing):
        assert os.get_blocking(writing)


def test_the_thread_of_the_log_has_no_more_privileges_than_the_supervisor(studio):
    with studio.relaying(FEED) as relay:
        threads = list(Path(f"/proc/{relay.process.pid}/task").iterdir())
        assert len(threads) > 1
        held = {
            line
            for thread in threads
            for line in (thread / "status").read_text().splitlines()
            if line.startswith("Cap")
        }
    assert len(held) == 5, "each of the five sets is the same in all threads"
