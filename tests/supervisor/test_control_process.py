"""The control process is restarted and gets all that clients may see; the supervisor never waits for it."""

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
from mcrelay.protocol.framing import PROCESS_PROTOCOL
from mcrelay.reconcile.lifecycle import TIMEOUT_S as TIMEOUT
from mcrelay.reconcile.trace_requests import TraceRequests
from mcrelay.reload.results import Cause, Reloads
from mcrelay.storage import run_dir
from mcrelay.supervisor import control_process as module
from mcrelay.supervisor.control_process import ControlProcess
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.listener import ControlListener
from mcrelay.supervisor.poller import Poller

# Writes each message that it gets to a file, as a line with the number of descriptors and the text.
FAKE = """#!{python}
import os, socket, sys, time
options = dict(word.lstrip("-").split("=") for word in sys.argv if "=" in word)
channel = socket.socket(fileno=int(options["channel"]))
def wait_for(name):
    path = os.path.join(os.path.dirname(sys.argv[0]), name)
    while not os.path.exists(path): time.sleep(0.01)
def receive():
    text, count, last = b"", 0, False
    while not last:
        data, descriptors, _, _ = socket.recv_fds(channel, 100_000, 253)
        if not data: sys.exit(0)
        text, count, last = text + data[1:], count + len(descriptors), data[:1] == b"."
    with open({received!r}, "ab") as notes:
        notes.write(b"%d %s\\n" % (count, text))
{body}
"""
HELLO = f"channel.send(b'.[\"hello\",{PROCESS_PROTOCOL}]')\n"
RECEIVE = "while True: receive()\n"
BEAT = """
_, [_, heartbeat], _, _ = socket.recv_fds(channel, 100_000, 253)
wait_for("beat")
beats = 0
while beats := beats + 1:
    os.pwrite(heartbeat, beats.to_bytes(8, "big"), 0)
    time.sleep(0.001)
"""


class FakeSupervisor:
    """What a supervisor has around its control process."""

    def __init__(self, folder):
        self.folder = folder
        self.poller = Poller()
        self.reloads, self.trace_requests = Reloads(), TraceRequests()
        self.listener = ControlListener(folder, None, run_dir.lock(folder))
        self.control = ControlProcess(None, self.poller, self.listener, self.reloads, self.trace_requests)

    def turn(self, now=None):
        self.control.keep_alive(time.monotonic() if now is None else now)
        self.poller.wait(0.01)

    def until(self, condition, what):
        wait_until(lambda: self.turn() or condition(), what)

    def until_ready(self):
        self.until(lambda: self.control.is_ready, "hello")

    def received(self, count):
        """Wait for `count` messages, and return them with the numbers of their descriptors."""
        notes = self.folder / "received"
        self.until(lambda: notes.exists() and notes.read_bytes().count(b"\n") == count, f"{count} messages")
        lines = [line.split(b" ", 1) for line in notes.read_bytes().splitlines()]
        return [(decode_to_control(text), int(descriptors)) for descriptors, text in lines]

    def close(self):
        for child in list(self.poller.children):
            child.kill("the test is over")
            child.reap()
        self.listener.close()


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a program in place of the control process."""
    made = []

    def started(body):
        program = tmp_path / "fake"
        text = FAKE.format(python=sys.executable, body=body, received=str(tmp_path / "received"))
        program.write_text(text)
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        made.append(FakeSupervisor(tmp_path))
        made[0].turn()
        return made[0]

    yield started
    made[0].close()


def test_nothing_is_sent_before_its_hello(start):
    supervisor = start("time.sleep(60)")
    assert not supervisor.control.is_ready
    info = supervisor.control.info()
    assert (info.name, info.kind, info.child) == ("control", "control", supervisor.control.child)
    assert info.process.activity == "starting"


def test_it_gets_the_listening_socket_a_snapshot_and_later_the_changes(start):
    supervisor = start(HELLO + RECEIVE)
    supervisor.until_ready()
    assert not supervisor.control.has_snapshot
    memory = CounterMemory("test")
    supervisor.control.send_snapshot({"daemon": 1, "rules": {"a": 1, "b": 2}}, {0: memory}, {})
    assert supervisor.control.has_snapshot
    supervisor.control.send_snapshot({"daemon": 1, "rules": {"a": 1, "b": 3}}, {0: memory}, {})
    supervisor.control.send_snapshot({"daemon": 1, "rules": {"a": 1, "b": 3}}, {0: memory}, {})
    supervisor.control.send_snapshot({"daemon": 2, "rules": {"a": 1, "b": 3}}, {0: memory, 1: memory}, {})
    assert supervisor.received(6) == [
        (SetListener(), 2),
        (Counters(0), 1),
        (SnapshotChanged({"daemon": 1, "rules": {"set": {"a": 1, "b": 2}}}), 0),
        (SnapshotChanged({"rules": {"set": {"b": 3}}}), 0),
        (Counters(1), 1),
        (SnapshotChanged({"daemon": 2}), 0),
    ]


def test_a_mark_is_answered_with_the_number_of_reloads_that_have_begun(start):
    supervisor = start(HELLO + "wait_for('begun')\nchannel.send(b'.[\"mark\",7]')\n" + RECEIVE)
    supervisor.reloads.begin(Cause.HANGUP)
    (supervisor.folder / "begun").touch()
    assert supervisor.received(2)[1] == (MarkAnswer(7, 1), 0)


def test_it_requests_traces_and_gets_their_rings(start):
    supervisor = start(HELLO + 'channel.send(b\'.["trace","feed",true]\')\n' + RECEIVE)
    supervisor.until(lambda: supervisor.trace_requests.traces, "a trace")
    [trace] = supervisor.trace_requests.traces
    memory = CounterMemory("test")
    tracing = TraceState("feed", trace.number, (0, 1))
    supervisor.control.send_trace_state(tracing, [memory.shared.for_reading] * 2)
    assert supervisor.received(2)[1] == (tracing, 2)


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (
            "channel.send(b'.[\"hello\",99]')\ntime.sleep(60)",
            f"it speaks protocol 99, and the supervisor {PROCESS_PROTOCOL}: the installed version",
        ),
        ("channel.send(b'.[\"mark\",1]')\ntime.sleep(60)", "did not send hello first"),
        (HELLO * 2 + "time.sleep(60)", "it sent hello twice"),
        (HELLO + "channel.send(b'.[\"reload\"]')\ntime.sleep(60)", "unknown message"),
        (HELLO + "channel.send(b'?')\ntime.sleep(60)", "neither `+`"),
        (HELLO + "channel.close()\ntime.sleep(60)", "it closed its channel"),
        ("os._exit(7)", "exit status 7"),
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_it_is_killed_for_any_fault_and_restarted(start, body, how):
    supervisor = start(body)
    first = supervisor.control.child.pid
    supervisor.until(lambda: supervisor.control.process.restarts == 1, "its end")
    assert how in supervisor.control.process.reason
    supervisor.until(
        lambda: supervisor.control.child is not None and supervisor.control.child.pid != first, "another one"
    )


def test_a_restarted_one_gets_a_whole_snapshot_and_has_no_traces(start):
    supervisor = start(HELLO + RECEIVE)
    supervisor.until_ready()
    supervisor.trace_requests.request("feed", True)
    supervisor.control.send_snapshot({"daemon": 1}, {0: CounterMemory("test")}, {})
    supervisor.received(3)
    os.kill(supervisor.control.child.pid, 9)
    supervisor.until(lambda: supervisor.control.process.restarts == 1, "its end")
    assert supervisor.trace_requests.traces == frozenset()
    supervisor.until_ready()
    assert not supervisor.control.has_snapshot
    supervisor.control.send_snapshot({"daemon": 1}, {0: CounterMemory("test")}, {})
    sent = [message for message, _ in supervisor.received(6)]
    assert sent[3:] == [SetListener(), Counters(0), SnapshotChanged({"daemon": 1})]


def test_it_ends_by_itself_when_it_is_stopped(start):
    supervisor = start(HELLO + RECEIVE)
    supervisor.until_ready()
    supervisor.control.stop()
    wait_until(lambda: supervisor.poller.wait(0.01) or supervisor.control.child is None, "its end")
    assert supervisor.control.process.restarts == 0


def test_stopping_it_while_it_does_not_run_does_nothing(start):
    supervisor = start("os._exit(7)")
    wait_until(lambda: supervisor.poller.wait(0.01) or supervisor.control.child is None, "its end")
    supervisor.control.stop()
    assert supervisor.control.process.activity == "pausing"


# Timeouts.


def test_it_is_killed_without_a_hello_in_time(start):
    supervisor = start("time.sleep(60)")
    assert supervisor.control.next_deadline() == pytest.approx(time.monotonic() + TIMEOUT, abs=5)
    supervisor.control.keep_alive(time.monotonic() + TIMEOUT + 1)
    wait_until(lambda: supervisor.poller.wait(0.01) or supervisor.control.child is None, "its end")
    assert "did not start in time" in supervisor.control.process.reason


def test_one_that_does_not_read_for_long_is_killed(start):
    supervisor = start(HELLO + "time.sleep(60)")
    supervisor.until_ready()
    supervisor.control.send_snapshot({"daemon": "x" * 4_000_000}, {}, {})
    assert supervisor.control.has_unsent
    now = time.monotonic()
    supervisor.control.keep_alive(now)
    assert supervisor.control.next_deadline() == pytest.approx(now + TIMEOUT)
    supervisor.control.keep_alive(now + TIMEOUT / 2)
    supervisor.control.keep_alive(now + TIMEOUT + 0.1)
    wait_until(lambda: supervisor.poller.wait(0.01) or supervisor.control.child is None, "its end")
    assert "does not read" in supervisor.control.process.reason
    assert not supervisor.control.has_unsent


def test_one_without_a_heartbeat_is_killed_even_if_nothing_is_unsent(start):
    supervisor = start(HELLO + "time.sleep(60)")
    supervisor.until_ready()
    now = time.monotonic()
    supervisor.control.keep_alive(now)
    since = supervisor.control.next_deadline() - TIMEOUT
    supervisor.control.keep_alive(since + TIMEOUT - 0.1)
    assert supervisor.control.process.restarts == 0
    supervisor.control.keep_alive(since + TIMEOUT)
    wait_until(lambda: supervisor.poller.wait(0.01) or supervisor.control.child is None, "its end")
    assert supervisor.control.process.reason == f"killed, because it did nothing for {TIMEOUT:g} s"
    assert not supervisor.control.has_unsent


def test_one_with_a_heartbeat_is_not_killed(start):
    supervisor = start(HELLO + BEAT)
    supervisor.until_ready()
    supervisor.until(lambda: supervisor.control.next_deadline() is not None, "a check without a new beat")
    (supervisor.folder / "beat").touch()
    supervisor.until(lambda: supervisor.control.next_deadline() is None, "a check with a new beat")
    assert supervisor.control.process.restarts == 0


def test_a_removed_control_socket_is_created_again_and_passed_on(start):
    supervisor = start(HELLO + RECEIVE)
    supervisor.received(1)
    supervisor.listener.path.unlink()
    assert supervisor.received(2) == [(SetListener(), 2)] * 2
    assert supervisor.listener.path.is_socket()


def test_one_that_reads_late_gets_everything(start):
    supervisor = start(HELLO + "wait_for('sent')\n" + RECEIVE)
    supervisor.until_ready()
    snapshot = {"daemon": "x" * 4_000_000}
    supervisor.control.send_snapshot(snapshot, {}, {})
    assert supervisor.control.has_unsent
    (supervisor.folder / "sent").touch()
    assert supervisor.received(2)[1] == (SnapshotChanged(snapshot), 0)
    assert not supervisor.control.has_unsent


def test_one_with_too_many_unsent_bytes_is_killed(start, monkeypatch):
    monkeypatch.setattr(module, "MAX_UNSENT_BYTES", 1_000_000)
    supervisor = start(HELLO + "time.sleep(60)")
    supervisor.until_ready()
    supervisor.control.send_snapshot({"daemon": "x" * 4_000_000}, {}, {})
    supervisor.turn()
    wait_until(lambda: supervisor.poller.wait(0.01) or supervisor.control.child is None, "its end")
    assert "does not read" in supervisor.control.process.reason


def test_a_failed_start_is_tried_again_later(start, monkeypatch, tmp_path):
    supervisor = start("os._exit(7)")
    supervisor.until(lambda: supervisor.control.child is None, "its end")
    missing = str(tmp_path / "missing")
    monkeypatch.setattr(sys, "executable", missing)
    supervisor.until(lambda: "cannot start" in supervisor.control.process.reason, "a start that fails")
    assert supervisor.control.process.reason == f"it cannot start: {missing}: no such file or directory"
    assert supervisor.control.child is None
    assert supervisor.control.next_deadline() > time.monotonic() - TIMEOUT_S
    assert supervisor.control.process.restarts == 2
