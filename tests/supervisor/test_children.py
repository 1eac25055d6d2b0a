"""A worker's process from the supervisor's side: what is said to it, what it may say, and how it ends."""

import errno
import gc
import os
import select
import sys
import time
from pathlib import Path

import pytest

from mcrelay.ipc import channel
from mcrelay.ipc.channel import TURN, ChannelClosed
from mcrelay.ipc.shared_memory import Memory
from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.model.actions import DeleteFlow
from mcrelay.model.state import Flow
from mcrelay.protocol.framing import MAX_ANSWER, MAX_DESCRIPTORS, MAX_PIECE, PROTOCOL, Hello
from mcrelay.protocol.worker import Acknowledged, BatchMessage, Instruction, Refused, encode_batch
from mcrelay.supervisor import poller
from mcrelay.supervisor.children import start_control, start_worker, why_not
from mcrelay.supervisor.poller import Poller
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
    return Memory("test")


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
            child.reaped()


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
    return child.channel.heard()


def say(child, batch, descriptors=()):
    child.channel.send(encode_batch(batch), descriptors)


def ended(child):
    """Wait until the process has ended, and return how."""
    assert is_readable(child.exit)
    return child.reaped()


# A real worker.


@needs_root
def test_a_worker_says_hello_carries_out_batches_and_ends_when_it_is_told(start):
    child = start(NOBODY)
    assert heard(child) == [Hello(PROTOCOL)]
    assert not is_readable(child.exit, 0)
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
    assert is_readable(child.exit)
    with pytest.raises(ChannelClosed, match="hung up"):
        child.channel.heard()
    assert child.reaped() == "killed, because it was of no use"


# What a worker may say.


@pytest.mark.parametrize(
    "said",
    [
        b"?",
        b".",
        b".no JSON",
        b".[]",
        b'.["hello"]',
        b'.["hello",true]',
        b'.["hello","1"]',
        b'.["acknowledged",1,2]',
        b'.["refused",1,0]',
        b'.["reload"]',
        b".{}",
        b"." + b"[" * 4000,
        b"." + b" " * MAX_ANSWER,
        b"\xff\xfe",
    ],
)
def test_whoever_says_what_no_worker_says_is_listened_to_no_more(start_fake, said):
    child = start_fake(f"channel.send({said!r}); time.sleep(60)")
    with pytest.raises(ChannelClosed) as closed:
        heard(child)
    assert "\n" not in str(closed.value)


def test_pieces_without_end_are_no_answer(start_fake):
    child = start_fake("while True: channel.send(b'+' + bytes(1000))")

    def is_closed():
        try:
            return heard(child) and False
        except ChannelClosed:
            return True

    wait_until(is_closed, "the end of patience")


def test_several_answers_may_come_at_once_also_in_pieces(start_fake):
    child = start_fake(
        """
for packet in (b'.["hello",1]', b'+["acknow', b'.ledged",7]', b'.["refused",8,2,"no"]'):
    channel.send(packet)
time.sleep(60)
"""
    )
    answers = []
    wait_until(lambda: answers.extend(child.channel.heard()) or len(answers) == 3, "three answers")
    assert answers == [Hello(1), Acknowledged(7), Refused(8, 2, "no")]
    assert child.channel.heard() == []


def test_descriptors_that_a_worker_sends_are_not_taken(start_fake):
    child = start_fake("socket.send_fds(channel, [b'.[\"hello\",1]'], [0] * 10); time.sleep(60)")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    assert heard(child) == [Hello(1)]
    assert len(os.listdir("/proc/self/fd")) == before


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
    assert is_readable(child.exit)
    with pytest.raises(ChannelClosed):
        child.channel.heard()
    assert child.reaped() == told


def test_who_ended_before_it_was_killed_was_not_killed(start_fake):
    child = start_fake("sys.exit(7)")
    assert is_readable(child.exit)
    child.kill("it hung up")
    assert child.reaped() == "exit status 7"


def test_a_connection_that_broke_off_is_a_channel_that_closed(start_fake):
    # Unread packets make the end of a socket a reset.
    child = start_fake("os.kill(os.getpid(), 9)")
    say(child, EMPTY)
    assert is_readable(child.exit)
    with pytest.raises(ChannelClosed, match="hung up"):
        child.channel.heard()


# What is said to it.


def large_batch(size):
    flows = (Flow(7, f"239.{n >> 16}.{n >> 8 & 255}.{n & 255}", 5001) for n in range(size))
    return BatchMessage(1, 1, tuple(Instruction(DeleteFlow(3, flow)) for flow in flows))


def test_a_batch_larger_than_the_channel_waits_until_the_worker_reads(start_fake, tmp_path):
    batch = large_batch(30_000)
    length = len(encode_batch(batch))
    assert length > 20 * MAX_PIECE
    child = start_fake(
        f"""
while not os.path.exists({str(tmp_path / "go")!r}): time.sleep(0.01)
text, descriptors = received()
channel.send(b'.["acknowledged",%d]' % len(text))
time.sleep(60)
"""
    )
    say(child, batch)
    assert child.channel.has_more_to_say
    (tmp_path / "go").touch()
    poll = select.poll()
    poll.register(child.channel, select.POLLOUT)
    while child.channel.has_more_to_say:
        assert poll.poll(TIMEOUT_S * 1000)
        child.channel.flush()
    assert heard(child) == [Acknowledged(length)]


def test_more_descriptors_than_a_packet_takes_arrive_all_and_in_order(start_fake, tmp_path):
    child = start_fake(
        """
_, descriptors = received()
order = [os.fstat(one).st_ino for one in descriptors]
channel.send(b'.["refused",%d,0,"%d"]' % (len(order), hash(tuple(order))))
time.sleep(60)
"""
    )
    opened = [os.memfd_create("one of many") for _ in range(2 * MAX_DESCRIPTORS + 7)]
    say(child, EMPTY, opened)
    order = tuple(os.fstat(one).st_ino for one in opened)
    for one in opened:
        os.close(one)
    assert heard(child) == [Refused(len(opened), 0, str(hash(order)))]


def test_what_is_said_to_a_dead_worker_is_dropped(start_fake):
    child = start_fake("channel.close()")
    assert is_readable(child.exit)
    say(child, large_batch(30_000))
    assert not child.channel.has_more_to_say
    child.stop()
    assert child.reaped() == "exit status 0"


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
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\n')
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
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    child = start_control(NOBODY)
    assert ended(child) == "exit status 0"
    told = (tmp_path / "told").read_text().split()
    assert told[:3] == ["-I", "-m", "mcrelay.control"]
    assert told[3].startswith("--channel=")
    assert told[4:] == ["--uid=65534", "--gid=65534"]


def test_whoever_talks_without_end_lets_others_have_a_turn(start_fake):
    child = start_fake("while True: channel.send(b'.[\"hello\",1]')")
    wait_until(lambda: len(heard(child)) == TURN, "a whole turn of it")


def test_what_waits_to_be_said_is_counted_and_forgotten_with_the_process(start_fake):
    child = start_fake("time.sleep(60)")
    assert child.channel.waiting == 0
    say(child, large_batch(30_000))
    assert child.channel.waiting > 10 * MAX_PIECE
    child.kill("it does not listen")
    assert ended(child) == "killed, because it does not listen"
    assert child.channel.waiting == 0


def test_why_a_process_cannot_be_started_names_the_file_where_there_is_one():
    assert why_not(OSError(13, "Permission denied", "/opt/python")) == "/opt/python: Permission denied"
    assert why_not(OSError(24, "Too many open files")) == "Too many open files"


@pytest.mark.parametrize("shortage", [errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS])
def test_what_the_system_has_no_room_for_is_said_later_and_nobody_spins_meanwhile(
    start_fake, tmp_path, monkeypatch, shortage
):
    child = start_fake(f"open({str(tmp_path / 'heard')!r}, 'wb').write(channel.recv(1000))")
    board = Poller()
    board.connect(child, heard=None, exited=lambda how: None)

    def refuse(*_):
        raise OSError(shortage, "no room")

    with monkeypatch.context() as full:
        full.setattr(channel.socket, "send_fds", refuse)
        child.channel.send(b"later")
        assert child.channel.is_refused
        began = time.monotonic()
        board.wait(None)
        assert time.monotonic() - began >= poller.LATER / 2
        assert child.channel.has_more_to_say
    board.wait(None)
    assert not child.channel.has_more_to_say
    wait_until(lambda: (tmp_path / "heard").exists() and (tmp_path / "heard").read_bytes() == b".later", "it")
