"""The processes that the supervisor starts: their options, their exit, and what they inherit."""

import gc
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from mcrelay.ipc.channel import ChannelClosed
from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.protocol.framing import PROCESS_PROTOCOL, Hello
from mcrelay.protocol.worker import Acknowledged, BatchMessage, encode_batch
from mcrelay.supervisor.children import describe_start_error, start_control, start_worker
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.privileged import RING_OCTETS, User

NOBODY = User("nobody", 65534, 65534)
EMPTY = BatchMessage(1, 1, ())

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts a process as another user: needs root")

# The start of each fake worker: it reads its options, and the first message from its channel.
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
    """Start workers; those that still run at the end of the test are killed."""
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
    """Start a program instead of a worker."""

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


def receive(child):
    """Wait for messages of the worker, and return them."""
    assert is_readable(child.channel)
    return child.channel.receive()


def send(child, batch, descriptors=()):
    child.channel.send(encode_batch(batch), descriptors)


def ended(child):
    """Wait until the process has ended, and return how."""
    assert is_readable(child.pidfd)
    return child.reap()


# A real worker.


@needs_root
def test_a_worker_says_hello_applies_batches_and_ends_when_it_is_stopped(start):
    child = start(NOBODY)
    assert receive(child) == [Hello(PROCESS_PROTOCOL)]
    assert not is_readable(child.pidfd, 0)
    send(child, EMPTY)
    assert receive(child) == [Acknowledged(1)]
    child.stop()
    assert ended(child) == "exit status 0"


@needs_root
def test_a_worker_inherits_only_its_channel_and_a_short_environment(start, tmp_path):
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        child = start(NOBODY)
        assert receive(child) == [Hello(PROCESS_PROTOCOL)]
        process = Path("/proc", str(child.pid))
        opened = [os.readlink(link) for link in (process / "fd").iterdir()]
        os.set_inheritable(secret.fileno(), False)
    assert not [name for name in opened if "secret" in name]
    assert sum(name.startswith("socket:") for name in opened) == 1
    names = {line.split(b"=")[0] for line in (process / "environ").read_bytes().split(b"\0") if line}
    assert names == {b"PATH", b"LC_ALL", b"OPENBLAS_NUM_THREADS", b"OMP_NUM_THREADS"}
    assert os.getpgid(child.pid) == child.pid


@needs_root
def test_the_reason_for_which_a_worker_is_killed_is_reported(start):
    child = start(NOBODY)
    assert receive(child) == [Hello(PROCESS_PROTOCOL)]
    child.kill("it was of no use")
    assert is_readable(child.pidfd)
    with pytest.raises(ChannelClosed):
        child.channel.receive()
    assert child.reap() == "killed, because it was of no use"


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("sys.exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), 15)", "killed by SIGTERM"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_the_exit_of_a_process_is_reported(start_fake, end, text):
    child = start_fake(end)
    assert is_readable(child.pidfd)
    with pytest.raises(ChannelClosed):
        child.channel.receive()
    assert child.reap() == text


def test_a_process_is_stopped_from_a_signal_on_until_it_continues(start_fake):
    child = start_fake("time.sleep(60)")
    assert not child.is_stopped
    os.kill(child.pid, signal.SIGSTOP)
    wait_until(lambda: child.is_stopped, "the stop")
    os.kill(child.pid, signal.SIGCONT)
    wait_until(lambda: not child.is_stopped, "the end of the stop")


def test_a_process_that_has_exited_is_not_stopped(start_fake):
    child = start_fake("sys.exit(7)")
    child.kill_unless_exiting("it closed its channel")
    assert is_readable(child.pidfd)
    assert not child.is_stopped
    child.reap()
    assert not child.is_stopped


def test_the_last_words_of_a_process_come_into_the_log(start_fake, caplog):
    assert ended(start_fake("print('no memory', file=sys.stderr); sys.exit(7)")) == "exit status 7"
    assert caplog.messages == ["no memory"]


def test_a_process_that_ended_before_it_was_killed_keeps_its_exit_status(start_fake):
    child = start_fake("sys.exit(7)")
    assert is_readable(child.pidfd)
    child.kill("it closed its channel")
    assert child.reap() == "exit status 7"


def test_a_worker_that_has_ended_leaves_no_descriptor_and_the_memory_stays(start_fake, memory):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    child = start_fake("os.kill(os.getpid(), 15)")
    assert ended(child) == "killed by SIGTERM"
    assert len(os.listdir("/proc/self/fd")) == before
    os.fstat(memory.shared.descriptor)


def test_a_worker_gets_its_number_channel_ring_size_and_user_as_options(start, tmp_path, monkeypatch):
    program = tmp_path / "fake"
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/text"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    for user, expected in ((None, []), (NOBODY, ["--uid=65534", "--gid=65534"])):
        ended(start(user))
        text = (tmp_path / "text").read_text().split()
        assert text[:3] == ["-I", "-m", "mcrelay.worker"]
        assert text[3].startswith("--channel=")
        assert text[4:] == ["--worker=3", f"--ring-octets={RING_OCTETS}", *expected]


def test_the_control_process_gets_its_channel_and_user_as_options(tmp_path, monkeypatch):
    program = tmp_path / "fake"
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/text"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    child = start_control(NOBODY)
    assert ended(child) == "exit status 0"
    text = (tmp_path / "text").read_text().split()
    assert text[:3] == ["-I", "-m", "mcrelay.control"]
    assert text[3].startswith("--channel=")
    assert text[4:] == ["--uid=65534", "--gid=65534"]


def test_a_start_error_names_the_file_if_there_is_one():
    assert (
        describe_start_error(OSError(13, "Permission denied", "/opt/python"))
        == "/opt/python: permission denied"
    )
    assert describe_start_error(OSError(24, "Too many open files")) == "too many open files"
