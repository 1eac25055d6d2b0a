"""A worker's process from the supervisor's side: what is said to it, what it may say, and how it ends."""

import gc
import os
import select
import sys
from pathlib import Path

import pytest

from mcrelay.ipc.channel import ChannelClosed
from mcrelay.lab.command import TIMEOUT_S
from mcrelay.protocol.framing import PROTOCOL, Hello
from mcrelay.protocol.worker import Acknowledged, BatchMessage, encode_batch
from mcrelay.supervisor.children import describe_start_error, start_control, start_worker
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.privileged import RING_OCTETS, User

NOBODY = User("nobody", 65534, 65534)
EMPTY = BatchMessage(1, 1, ())

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts a process as another user: needs root")

# What every fake worker begins with: its options, its channel, and the message with its memory.
FAKE = """#!{python}
import os, socket, sys, time
options = dict(word.lstrip("-").split("=") for word in sys.argv if "=" in word)
channel = socket.socket(fileno=int(options["channel"]))
def received():
    text, descriptors, last = b"", [], False
    while not last:
        data, more, _, _ = socket.recv_fds(channel, 100_000, 253)
        text, last = text + data[1:], data[:1] == b"."
        descriptors += more
    return text, descriptors
received()
{body}
"""


@pytest.fixture
def memory():
    return CounterMemory("test")


@pytest.fixture
def start(memory):
    """Start workers; whatever is left of them at the end is killed."""
    children = []

    def started(user=None):
        child = start_worker(3, user, memory)
        children.append(child)
        return child

    yield started
    for child in children:
        if child.channel.fileno() != -1:
            child.kill("the test is over")
            child.reap()


@pytest.fixture
def start_fake(start, tmp_path, monkeypatch):
    """Start a program in place of a worker's."""

    def started(body):
        program = tmp_path / "fake"
        program.write_text(FAKE.format(python=sys.executable, body=body))
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return start()

    return started


def is_readable(thing, milliseconds=TIMEOUT_S * 1000):
    poll = select.poll()
    poll.register(thing, select.POLLIN)
    return bool(poll.poll(milliseconds))


def heard(child):
    """Wait until the worker says something, and return what."""
    assert is_readable(child.channel)
    return child.channel.receive()


def say(child, batch, descriptors=()):
    child.channel.send(encode_batch(batch), descriptors)


def ended(child):
    """Wait until the process has ended, and return how."""
    assert is_readable(child.pidfd)
    return child.reap()


# A real worker.


@needs_root
def test_a_worker_says_hello_carries_out_batches_and_ends_when_it_is_told(start):
    child = start(NOBODY)
    assert heard(child) == [Hello(PROTOCOL)]
    assert not is_readable(child.pidfd, 0)
    say(child, EMPTY)
    assert heard(child) == [Acknowledged(1)]
    child.stop()
    assert ended(child) == "exit status 0"


@needs_root
def test_a_worker_gets_its_channel_and_its_memory_and_nothing_else_of_the_supervisors(start, tmp_path):
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        child = start(NOBODY)
        assert heard(child) == [Hello(PROTOCOL)]
        process = Path("/proc", str(child.pid))
        opened = [os.readlink(link) for link in (process / "fd").iterdir()]
        os.set_inheritable(secret.fileno(), False)
    assert not [name for name in opened if "secret" in name]
    assert sum(name.startswith("socket:") for name in opened) == 1
    names = {line.split(b"=")[0] for line in (process / "environ").read_bytes().split(b"\0") if line}
    assert names == {b"PATH", b"LC_ALL", b"OPENBLAS_NUM_THREADS", b"OMP_NUM_THREADS"}
    assert os.getpgid(child.pid) == child.pid


@needs_root
def test_a_worker_that_is_killed_ends_and_the_reason_is_told(start):
    child = start(NOBODY)
    assert heard(child) == [Hello(PROTOCOL)]
    child.kill("it was of no use")
    assert is_readable(child.pidfd)
    with pytest.raises(ChannelClosed):
        child.channel.receive()
    assert child.reap() == "killed, because it was of no use"


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("sys.exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), 15)", "killed by SIGTERM"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_how_a_process_ended_by_itself_is_told(start_fake, end, told):
    child = start_fake(end)
    assert is_readable(child.pidfd)
    with pytest.raises(ChannelClosed):
        child.channel.receive()
    assert child.reap() == told


def test_who_ended_before_it_was_killed_was_not_killed(start_fake):
    child = start_fake("sys.exit(7)")
    assert is_readable(child.pidfd)
    child.kill("it closed its channel")
    assert child.reap() == "exit status 7"


def test_a_worker_that_is_gone_leaves_no_descriptor_and_the_memory_stays(start_fake, memory):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    child = start_fake("os.kill(os.getpid(), 15)")
    assert ended(child) == "killed by SIGTERM"
    assert len(os.listdir("/proc/self/fd")) == before
    os.fstat(memory.shared.descriptor)


def test_a_worker_is_told_its_number_its_channel_the_size_of_its_rings_and_whom_to_become(
    start, tmp_path, monkeypatch
):
    program = tmp_path / "fake"
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/told"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    for user, expected in ((None, []), (NOBODY, ["--uid=65534", "--gid=65534"])):
        ended(start(user))
        told = (tmp_path / "told").read_text().split()
        assert told[:3] == ["-I", "-m", "mcrelay.worker"]
        assert told[3].startswith("--channel=")
        assert told[4:] == ["--worker=3", f"--ring-octets={RING_OCTETS}", *expected]


def test_the_control_process_is_told_its_channel_and_whom_to_become(tmp_path, monkeypatch):
    program = tmp_path / "fake"
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/told"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    child = start_control(NOBODY)
    assert ended(child) == "exit status 0"
    told = (tmp_path / "told").read_text().split()
    assert told[:3] == ["-I", "-m", "mcrelay.control"]
    assert told[3].startswith("--channel=")
    assert told[4:] == ["--uid=65534", "--gid=65534"]


def test_why_a_process_cannot_be_started_names_the_file_where_there_is_one():
    assert (
        describe_start_error(OSError(13, "Permission denied", "/opt/python"))
        == "/opt/python: Permission denied"
    )
    assert describe_start_error(OSError(24, "Too many open files")) == "Too many open files"
