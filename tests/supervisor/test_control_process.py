"""The control process is kept alive and told all there is, whatever it does; and nothing waits for it."""

import os
import sys
import time

import pytest

from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.protocol.control import (
    Counters,
    MarkAnswer,
    SetListener,
    SnapshotChanged,
    TraceState,
    decode_to_control,
)
from mcrelay.reconcile.lifecycle import TIMEOUT_S as LONG
from mcrelay.reconcile.trace_requests import TraceRequests
from mcrelay.reload.results import Cause, Reloads
from mcrelay.storage import run_dir
from mcrelay.supervisor import control_process as module
from mcrelay.supervisor.control_process import ControlProcess
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.listener import ControlListener
from mcrelay.supervisor.poller import Poller

# A control process that notes all it hears: a line for each message, with the number of descriptors.
FAKE = """#!{python}
import os, socket, sys, time
options = dict(word.lstrip("-").split("=") for word in sys.argv if "=" in word)
channel = socket.socket(fileno=int(options["channel"]))
awake = os.path.join(os.path.dirname(sys.argv[0]), "awake")
def hear():
    text, count, last = b"", 0, False
    while not last:
        data, descriptors, _, _ = socket.recv_fds(channel, 100_000, 253)
        if not data: sys.exit(0)
        text, count, last = text + data[1:], count + len(descriptors), data[:1] == b"."
    with open({heard!r}, "ab") as notes:
        notes.write(b"%d %s\\n" % (count, text))
{body}
"""
HELLO = "channel.send(b'.[\"hello\",1]')\n"
LISTEN = "while True: hear()\n"
ALIVE = """
_, [_, pulse], _, _ = socket.recv_fds(channel, 100_000, 253)
while not os.path.exists(awake): time.sleep(0.01)
beats = 0
while beats := beats + 1:
    os.pwrite(pulse, beats.to_bytes(8, "big"), 0)
    time.sleep(0.001)
"""


class Desk:
    """A control process under a supervisor that is made up."""

    def __init__(self, folder):
        self.folder = folder
        self.switchboard = Poller()
        self.reloads, self.traced = Reloads(), TraceRequests()
        self.listener = ControlListener(folder, None, run_dir.lock(folder))
        self.control = ControlProcess(None, self.switchboard, self.listener, self.reloads, self.traced)

    def turn(self, now=None):
        self.control.keep_alive(time.monotonic() if now is None else now)
        self.switchboard.wait(0.01)

    def until(self, condition, what):
        wait_until(lambda: self.turn() or condition(), what)

    def greeted(self):
        self.until(lambda: self.control.is_listening, "hello")

    def heard(self, count):
        """Wait for so many messages, and return them with the numbers of their descriptors."""
        notes = self.folder / "heard"
        self.until(lambda: notes.exists() and notes.read_bytes().count(b"\n") == count, f"{count} messages")
        lines = [line.split(b" ", 1) for line in notes.read_bytes().splitlines()]
        return [(decode_to_control(text), int(descriptors)) for descriptors, text in lines]

    def close(self):
        for child in list(self.switchboard.children):
            child.kill("the test is over")
            child.reaped()
        self.listener.close()


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Start a program in place of the control process."""
    made = []

    def started(body):
        program = tmp_path / "fake"
        text = FAKE.format(python=sys.executable, body=body, heard=str(tmp_path / "heard"))
        program.write_text(text)
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        made.append(Desk(tmp_path))
        made[0].turn()
        return made[0]

    yield started
    made[0].close()


def test_it_is_told_nothing_before_it_said_hello(desk):
    found = desk("time.sleep(60)")
    assert not found.control.is_listening
    member = found.control.member()
    assert (member.name, member.kind, member.child) == ("control", "control", found.control.child)
    assert member.process.activity == "starting"


def test_it_gets_the_listening_socket_first_and_then_all_there_is_and_later_what_is_new(desk):
    found = desk(HELLO + LISTEN)
    found.greeted()
    assert found.control.is_outdated
    memory = CounterMemory("test")
    found.control.tell({"daemon": 1, "rules": {"a": 1, "b": 2}}, {0: memory})
    assert not found.control.is_outdated
    found.control.tell({"daemon": 1, "rules": {"a": 1, "b": 3}}, {0: memory})
    found.control.tell({"daemon": 1, "rules": {"a": 1, "b": 3}}, {0: memory})
    found.control.tell({"daemon": 2, "rules": {"a": 1, "b": 3}}, {0: memory, 1: memory})
    assert found.heard(6) == [
        (SetListener(), 2),
        (Counters(0), 1),
        (SnapshotChanged({"daemon": 1, "rules": {"set": {"a": 1, "b": 2}}}), 0),
        (SnapshotChanged({"rules": {"set": {"b": 3}}}), 0),
        (Counters(1), 1),
        (SnapshotChanged({"daemon": 2}), 0),
    ]


def test_a_mark_is_answered_with_how_many_reloads_have_begun(desk):
    found = desk(HELLO + "channel.send(b'.[\"mark\",7]')\n" + LISTEN)
    found.reloads.begin(Cause.HANGUP)
    assert found.heard(2)[1] == (MarkAnswer(7, 1), 0)


def test_it_asks_for_traces_and_is_told_of_their_rings(desk):
    found = desk(HELLO + 'channel.send(b\'.["trace","feed",true]\')\n' + LISTEN)
    found.until(lambda: found.traced.traces, "a trace")
    [trace] = found.traced.traces
    memory = CounterMemory("test")
    tracing = TraceState("feed", trace.number, (0, 1))
    found.control.tell_of_trace(tracing, [memory.shared.for_reading] * 2)
    assert found.heard(2)[1] == (tracing, 2)


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("channel.send(b'.[\"hello\",99]')\ntime.sleep(60)", "protocol 99"),
        ("channel.send(b'.[\"mark\",1]')\ntime.sleep(60)", "did not say hello first"),
        (HELLO * 2 + "time.sleep(60)", "not once with 1"),
        (HELLO + "channel.send(b'.[\"reload\"]')\ntime.sleep(60)", "none that the protocol knows"),
        (HELLO + "channel.send(b'?')\ntime.sleep(60)", "neither mark"),
        (HELLO + "channel.close()\ntime.sleep(60)", "it closed its channel"),
        ("os._exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_whatever_it_does_wrong_it_is_put_down_and_comes_back(desk, body, how):
    found = desk(body)
    first = found.control.child.pid
    found.until(lambda: found.control.process.restarts == 1, "its end")
    assert how in found.control.process.reason
    found.until(lambda: found.control.child is not None and found.control.child.pid != first, "another one")


def test_a_successor_is_told_everything_anew_and_traces_nothing(desk):
    found = desk(HELLO + LISTEN)
    found.greeted()
    found.traced.request("feed", True)
    found.control.tell({"daemon": 1}, {0: CounterMemory("test")})
    found.heard(3)
    os.kill(found.control.child.pid, 9)
    found.until(lambda: found.control.process.restarts == 1, "its end")
    assert found.traced.traces == frozenset()
    found.greeted()
    assert found.control.is_outdated
    found.control.tell({"daemon": 1}, {0: CounterMemory("test")})
    told = [news for news, _ in found.heard(6)]
    assert told[3:] == [SetListener(), Counters(0), SnapshotChanged({"daemon": 1})]


def test_it_ends_by_itself_when_it_is_told_to(desk):
    found = desk(HELLO + LISTEN)
    found.greeted()
    found.control.stop()
    wait_until(lambda: found.switchboard.wait(0.01) or found.control.child is None, "its end")
    assert found.control.process.restarts == 0


def test_to_stop_what_does_not_run_is_nothing(desk):
    found = desk("os._exit(7)")
    wait_until(lambda: found.switchboard.wait(0.01) or found.control.child is None, "its end")
    found.control.stop()
    assert found.control.process.activity == "pausing"


# Patience.


def test_it_has_so_long_to_say_hello(desk):
    found = desk("time.sleep(60)")
    assert found.control.next_deadline() == pytest.approx(time.monotonic() + LONG, abs=5)
    found.control.keep_alive(time.monotonic() + LONG + 1)
    wait_until(lambda: found.switchboard.wait(0.01) or found.control.child is None, "its end")
    assert "did not start in time" in found.control.process.reason


def test_one_that_does_not_listen_for_long_is_replaced(desk):
    found = desk(HELLO + "time.sleep(60)")
    found.greeted()
    found.control.tell({"daemon": "x" * 4_000_000}, {})
    assert found.control.is_behind
    now = time.monotonic()
    found.control.keep_alive(now)
    assert found.control.next_deadline() == pytest.approx(now + LONG)
    found.control.keep_alive(now + LONG / 2)
    found.control.keep_alive(now + LONG + 0.1)
    wait_until(lambda: found.switchboard.wait(0.01) or found.control.child is None, "its end")
    assert "does not listen" in found.control.process.reason
    assert not found.control.is_behind


def test_one_that_shows_no_life_is_replaced_although_nothing_waits_to_be_told(desk):
    found = desk(HELLO + "time.sleep(60)")
    found.greeted()
    now = time.monotonic()
    found.control.keep_alive(now)
    since = found.control.next_deadline() - LONG
    found.control.keep_alive(since + LONG - 0.1)
    assert found.control.process.restarts == 0
    found.control.keep_alive(since + LONG)
    wait_until(lambda: found.switchboard.wait(0.01) or found.control.child is None, "its end")
    assert found.control.process.reason == f"killed, because it did nothing for {LONG:g} s"
    assert not found.control.is_behind


def test_one_that_shows_life_is_left_in_peace(desk):
    found = desk(HELLO + ALIVE)
    found.greeted()
    found.until(lambda: found.control.next_deadline() is not None, "a look that sees nothing")
    (found.folder / "awake").touch()
    found.until(lambda: found.control.next_deadline() is None, "a look that sees a sign of life")
    assert found.control.process.restarts == 0


def test_a_socket_that_was_removed_comes_back_and_is_passed_on(desk):
    found = desk(HELLO + LISTEN)
    found.heard(1)
    found.listener.path.unlink()
    assert found.heard(2) == [(SetListener(), 2)] * 2
    assert found.listener.path.is_socket()


def test_one_that_listens_late_is_told_all_of_it(desk):
    found = desk(HELLO + "time.sleep(0.3)\n" + LISTEN)
    found.greeted()
    picture = {"daemon": "x" * 4_000_000}
    found.control.tell(picture, {})
    assert found.control.is_behind
    assert found.heard(2)[1] == (SnapshotChanged(picture), 0)
    assert not found.control.is_behind


def test_no_more_waits_for_it_than_fits(desk, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 1_000_000)
    found = desk(HELLO + "time.sleep(60)")
    found.greeted()
    found.control.tell({"daemon": "x" * 4_000_000}, {})
    found.turn()
    wait_until(lambda: found.switchboard.wait(0.01) or found.control.child is None, "its end")
    assert "does not listen" in found.control.process.reason


def test_one_that_cannot_be_started_is_tried_again_later(desk, monkeypatch, tmp_path):
    found = desk("os._exit(7)")
    found.until(lambda: found.control.child is None, "its end")
    missing = str(tmp_path / "missing")
    monkeypatch.setattr(sys, "executable", missing)
    found.until(lambda: "cannot start" in found.control.process.reason, "a start that fails")
    assert found.control.process.reason == f"it cannot start: {missing}: No such file or directory"
    assert found.control.child is None
    assert found.control.next_deadline() > time.monotonic() - TIMEOUT_S
    assert found.control.process.restarts == 2
