"""The supervisor copes with workers that misbehave, links that come and go, and large changes."""

import os
import signal
import socket
import sys
import time
from contextlib import contextmanager

import pytest

from mcrelay.lab import Receiver, report_of, send
from mcrelay.lab.command import wait_until
from mcrelay.protocol.framing import PROCESS_PROTOCOL

pytestmark = pytest.mark.planes("userspace")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
BOTH = FEED.replace("}]}", "}, {interface: right, group: 239.2.2.2, port: 6001}]}")

# A worker program that is another one the first time. `mcrelay run` starts it unchanged, except
# the program that it takes for Python.
DAEMON = """#!/bin/sh
shift 3
exec "{python}" -I -c 'import sys
from mcrelay.cli import main
sys.executable = "{worker}"
sys.exit(main(sys.argv[1:]))' "$@"
"""
WORKER = """#!/bin/sh
case "$*" in *mcrelay.worker*) ;; *) exec "{python}" "$@" ;; esac
mkdir "{folder}/first" 2>/dev/null || exec "{python}" "$@"
exec "{python}" -I "{folder}/fake.py" "$@"
"""
FAKE = """
import os, socket, sys, time
options = dict(word.lstrip("-").split("=") for word in sys.argv if "=" in word)
channel = socket.socket(fileno=int(options["channel"]))
def receive():
    text = b""
    while text[:1] != b".":
        text = channel.recv(100_000)
    return text
receive()
{body}
"""


@pytest.fixture
def python(tmp_path):
    """Return a Python that starts `mcrelay run` with one fake worker first."""

    def made(body):
        paths = {"python": sys.executable, "folder": tmp_path, "worker": tmp_path / "worker"}
        for name, text in (("daemon-python", DAEMON), ("worker", WORKER)):
            (tmp_path / name).write_text(text.format(**paths))
            (tmp_path / name).chmod(0o755)
        (tmp_path / "fake.py").write_text(FAKE.format(body=body))
        return str(tmp_path / "daemon-python")

    return made


def assert_relays(studio, destination="239.1.1.1:5001", to="239.2.2.2:6001", host=None, size=1400, count=500):
    receiver = Receiver(host or studio.left, to)
    studio.send(destination, count=count, rate=5000, size=size)
    report = receiver.report()
    assert report.received == count
    assert report.is_flawless


@contextmanager
def logged(relay, words):
    """Wait at the end of the block until the daemon has logged these words since its beginning."""
    begin = len(relay.log())
    yield
    wait_until(lambda: words in relay.log()[begin:], f"`{words}` in the log")


def assert_relays_again(studio):
    """Whatever was lost while a worker starts: one probe comes through, and then everything does."""
    probing = Receiver(studio.left, "239.2.2.2:6001")
    studio.send("239.1.1.1:5001", count=2000, rate=1000, size=100)
    assert probing.report().received > 0
    assert_relays(studio)


# Workers.


HELLO = f"channel.send(b'.[\"hello\",{PROCESS_PROTOCOL}]'); receive(); "
LINGER = "; time.sleep(60)"
MISBEHAVIOUR = {
    "no protocol": ("channel.send(b'?')" + LINGER, "neither `+` nor `.`"),
    "another protocol": (
        "channel.send(b'.[\"hello\",99]')" + LINGER,
        "it speaks protocol 99, and the supervisor",
    ),
    "no answer": (HELLO + "channel.send(b'.[]')" + LINGER, "unknown answer of a worker"),
    "a refusal of nothing": (HELLO + 'channel.send(b\'.["refused",1,99,"no"]\')' + LINGER, "in time"),
    "a closed channel": ("channel.close()" + LINGER, "it closed its channel"),
    "an early end": ("os._exit(7)", "died: "),
}


@pytest.mark.parametrize(("body", "why"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
def test_a_worker_that_misbehaves_is_replaced_by_one_that_relays(studio, python, body, why):
    with studio.relaying(FEED, python=python(body)) as relay:
        [died] = [line for line in relay.log().splitlines() if "died" in line]
        assert why in died
        assert died.endswith("; restarting it")
        wait_until(lambda: len(relay.workers()) == 1, "another worker")
        assert_relays_again(studio)


def test_an_action_that_a_worker_refuses_is_tried_again_later(studio, python):
    # The first batch opens the ring after the bound of the age. The refusals leave nothing to do.
    body = f"""
{HELLO}
channel.send(b'.["refused",1,1,"no room\\\\nfor a ring"]')
receive()
channel.send(b'.["refused",2,0,"and for what comes next"]')
receive()
channel.send(b'.["refused",3,0,"and for the last"]')
time.sleep(60)
"""
    with studio.relaying(FEED, python=python(body)) as relay:
        assert "no room?for a ring" in relay.log()
        assert "rule feed: failed" in relay.log()


def test_a_worker_that_is_stopped_ends_by_itself(studio):
    with studio.daemon("workers: 3\n" + studio.config(FEED)) as relay:
        assert len(relay.workers()) == 3
        relay.reload("workers: 1\n" + studio.config(FEED))
        assert relay.log().count("has ended") == 2
        [left] = relay.workers()
        assert f"started worker 0 (process {left})" in relay.log()
    assert "died" not in relay.log()
    assert relay.log().count(") has ended") == 4  # with the control process


def test_a_worker_that_is_killed_during_a_large_batch_is_restarted_with_all_of_it(studio):
    with studio.relaying(FEED) as relay:
        [worker] = relay.workers()
        os.kill(worker, signal.SIGSTOP)  # so that the batch is under way for sure
        relay.config.write_text(studio.config(FEED, *many(1000)))
        relay.process.send_signal(signal.SIGHUP)
        relay.await_notification("RELOADING=1")
        wait_until(lambda: "generation 2" in relay.log(), "the plan")
        os.kill(worker, signal.SIGKILL)
        status = next(line for line in relay.await_notification("READY=1") if line.startswith("STATUS="))
        assert "1001 active" in status
        wait_until(lambda: relay.workers() not in ([], [worker]), "another worker")
        assert_relays_again(studio)
        assert_relays(studio, "239.3.3.231:5999", "239.2.3.231:6999")


def many(count):
    """Rules to the left, from 239.3.0.0:5000 on."""
    return [
        f"many-{n}: {{input: {{interface: studio, group: 239.3.{n // 256}.{n % 256}, port: {5000 + n}}},"
        f" outputs: [{{interface: left, group: 239.2.3.231, port: {6000 + n}}}]}}"
        for n in range(count)
    ]


def test_a_reload_of_a_thousand_rules_costs_a_running_rule_no_packet(studio):
    with studio.relaying(FEED) as relay:
        workers = relay.workers()
        left = Receiver(studio.left, "239.2.2.2:6001", idle=3)
        sending = studio.start_sending("239.1.1.1:5001", count=40_000, rate=10_000, size=200)
        assert "1001 active" in relay.reload(studio.config(FEED, *many(1000)))
        assert_relays(studio, "239.3.3.231:5999", "239.2.3.231:6999")
        assert "1 rule" in relay.reload(studio.config(FEED))
        report_of(sending)
        report = left.report()
        assert relay.workers() == workers
        assert studio.relay.groups("eth0") == {"224.0.0.1", "239.1.1.1"}
    assert report.received == 40_000
    assert report.is_flawless


def test_a_worker_that_does_not_end_is_killed_at_the_end_of_the_supervisor(studio):
    with studio.relaying(FEED) as relay:
        [worker] = relay.workers()
        os.kill(worker, signal.SIGSTOP)
        assert relay.stop() < 5  # 1.5 s of them are the worker's
        assert relay.process.returncode == 0
        assert studio.relay.processes() == []


# What cannot be had.


def test_an_output_whose_port_is_taken_fails_alone_until_the_port_is_free(studio):
    taken = FEED.replace("feed:", "taken:").replace("239.1.1.1", "239.1.1.9")
    taken = taken.replace("port: 6001", "port: 6009, source_port: 7001")
    with studio.relay.enter_namespace():
        service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        service.bind(("10.2.0.1", 7001))
    with studio.relaying(FEED, taken) as relay:
        assert "rule taken: failed: cannot send from 10.2.0.1 port 7001" in relay.log()
        assert_relays(studio)
        with logged(relay, "rule taken: active"):
            service.close()
        assert_relays(studio, "239.1.1.9:5001", "239.2.2.2:6009")


def test_systemd_gets_watchdog_messages(studio, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with studio.relaying(FEED) as relay:
        begin = time.monotonic()
        for _ in range(3):
            relay.await_notification("WATCHDOG=1")
        assert time.monotonic() - begin > 0.1


# Links.

LATE = (
    "late: {input: {interface: late, group: 239.1.1.7, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.7, port: 6001}]}"
)


def with_late(studio, *rules):
    return studio.config(*rules).replace("rules:", "  late: {device: eth9}\nrules:")


def test_a_rule_follows_its_device_that_disappears_and_returns_with_another_index(studio):
    late = studio.lab.host("late")
    with studio.daemon(with_late(studio, FEED, LATE)) as relay:
        assert "rule late: unresolved" in relay.log()
        pauses = []
        for _ in range(3):
            studio.lab.link(late.end("eth0", "192.168.7.7/24"), studio.relay.end("eth9", "10.9.0.1/24"))
            begin = time.monotonic()
            wait_until(lambda: "239.1.1.7" in studio.relay.groups("eth9"), "the membership")
            pauses.append(time.monotonic() - begin)
            receiver = Receiver(studio.left, "239.2.2.7:6001")
            send(late, "239.1.1.7:5001", "--interface=eth0", "--count=500", "--rate=5000")
            report = receiver.report()
            assert report.received == 500
            assert report.is_flawless
            with logged(relay, "rule late: unresolved"):
                studio.relay.ip("link delete eth9")
        assert min(pauses) < 1  # a loaded machine may be late, but hardly each time
        assert_relays(studio)


def test_an_output_follows_the_address_of_its_device(studio):
    with studio.relaying(BOTH) as relay:
        right = Receiver(studio.right, "239.2.2.2:6001")
        assert_relays(studio)
        assert right.report().sources == ["10.3.0.1"]
        with logged(relay, "1 of 2 outputs does not run"):
            studio.relay.ip("address delete 10.3.0.1/24 dev eth2")
        right = Receiver(studio.right, "239.2.2.2:6001")
        assert_relays(studio)
        assert right.interrupt().received == 0
        with logged(relay, "rule feed: active"):
            studio.relay.ip("address add 10.3.0.9/24 dev eth2")
        right = Receiver(studio.right, "239.2.2.2:6001")
        assert_relays(studio)
        report = right.report()
        assert report.received == 500
        assert report.sources == ["10.3.0.9"]


def test_larger_packets_are_relayed_once_the_mtu_allows_them(studio):
    with studio.relaying(FEED):
        for host, device in (
            (studio.relay, "eth0"),
            (studio.relay, "eth1"),
            (studio.left, "eth0"),
            (studio.sender, "eth0"),
        ):
            host.ip(f"link set {device} mtu 9000")
        receiver = Receiver(studio.left, "239.2.2.2:6001")
        sending = studio.start_sending("239.1.1.1:5001", count=4000, rate=2000, size=8000)
        report_of(sending)
        report = receiver.report()
        assert report.received > 2000  # those of the first moment find a ring of small frames
        assert_relays(studio, size=8900)
        assert_relays(studio, size=100)


def test_a_link_that_went_down_and_up_again_is_relayed_as_before(studio):
    with studio.relaying(FEED) as relay:
        workers = relay.workers()
        for host, device in ((studio.relay, "eth0"), (studio.relay, "eth1")):
            host.ip(f"link set {device} down", f"link set {device} up")
        assert_relays_again(studio)
        assert relay.workers() == workers


# The number of workers.


def test_a_change_of_the_number_of_workers_loses_only_packets_of_that_moment(studio):
    """Nothing comes twice. What a worker has not read when it ends is lost, and so is a newcomer's share for
    the microseconds between its entering the group and its filter.
    """
    rules = studio.config(FEED)
    with studio.daemon("workers: 1\n" + rules) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001", idle=3)
        sending = [
            studio.start_sending("239.1.1.1:5001", count=16_000, rate=4000, size=200) for _ in range(4)
        ]
        for workers in (2, 1, 3):
            relay.reload(f"workers: {workers}\n{rules}")
            assert len(relay.workers()) == workers
        for one in sending:
            report_of(one)
        report = left.report()
        assert 63_000 < report.received <= 64_000
        assert report.duplicated == report.corrupt == 0
        assert_relays(studio)
