"""A process that stands still is found within a few seconds, killed and replaced, and no healthy one is."""

import os
import signal
import sys
import time

import pytest

from mcrelay.client.connection import connect
from mcrelay.lab import Receiver, report_of
from mcrelay.lab.command import wait_until
from mcrelay.linux.process_usage import read_run_state
from tests.netns.support.relay_observer import Sending, summary

pytestmark = pytest.mark.planes("userspace")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
# Holds a process like a debugger, until something kills that process (linux/ptrace.h).
HOLD = """
import ctypes, os, sys
SEIZE, INTERRUPT, ALL = 0x4206, 0x4207, 0x40000000
for request in (SEIZE, INTERRUPT):
    assert ctypes.CDLL(None).ptrace(ctypes.c_long(request), int(sys.argv[1]), None, None) == 0
while not os.WIFSIGNALED(os.waitpid(int(sys.argv[1]), ALL)[1]):
    pass
"""


def stop(studio, process):
    os.kill(process, signal.SIGSTOP)


def hang(studio, process):
    """Let a process make no step, without a signal of which its parent learns."""
    studio.relay.start([sys.executable, "-c", HOLD, str(process)])


def processes(relay):
    with connect(str(relay.run_dir / "control.sock")) as client:
        return {process["name"]: process for process in client.call("status")["processes"]}


@pytest.mark.parametrize(
    ("stand", "why"), [(stop, "a signal had stopped it"), (hang, "packets waited for it")]
)
def test_a_worker_that_stands_still_under_traffic_is_replaced(studio, stand, why):
    def relayed():
        return summary(relay).rules["feed"].packets

    with studio.relaying(FEED) as relay:
        with Sending(studio.sender, "239.1.1.1:5001", rate=1000):
            wait_until(lambda: relayed() > 1000, "traffic")
            (standing,) = relay.workers()
            stand(studio, standing)
            began = time.monotonic()
            wait_until(lambda: relay.workers() not in ([], [standing]), "another worker")
            assert time.monotonic() - began < 15, "it is found in 3 to 5 s on a host with time for it"
            left = Receiver(studio.left, "239.2.2.2:6001")
            before = relayed()
            wait_until(lambda: relayed() > before + 1000, "packets that it relays")
        assert left.report().received > 1000
        worker = processes(relay)["worker 0"]
        shown = relay.ask("status").stdout
    assert worker["restarts"] == 1
    assert worker["reason"].startswith("killed, because it stood still for ")
    assert worker["reason"].endswith(why)
    assert f"last death: {worker['reason']}" in shown
    assert f"worker 0 (process {standing}) died: {worker['reason']}; restarting it" in relay.log()


def test_a_worker_that_sleeps_in_a_batch_is_replaced_and_the_change_takes_place(studio):
    with studio.relaying(FEED) as relay:
        (standing,) = relay.workers()
        hang(studio, standing)
        wait_until(lambda: read_run_state(standing)[0] == "t", "the debugger")
        done = relay.reload(studio.config(FEED.replace("6001", "6002")))
        assert done.startswith("applied")
        wait_until(lambda: relay.workers() not in ([], [standing]), "another worker")
        reason = processes(relay)["worker 0"]["reason"]
    assert reason.startswith("killed, because it stood still for ")
    assert reason.endswith("a batch waited for it")


def test_a_worker_that_is_stopped_without_traffic_is_replaced_before_the_next_packet(studio):
    with studio.relaying(FEED) as relay:
        (standing,) = relay.workers()
        stop(studio, standing)
        wait_until(lambda: relay.workers() not in ([], [standing]), "another worker")
        wait_until(lambda: "active" in relay.ask("list").stdout, "the rule")
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100, rate=1000)
        assert left.report().received == 100


def test_a_worker_that_is_stopped_for_a_moment_goes_on(studio):
    with studio.relaying(FEED) as relay:
        before = relay.workers()
        for _ in range(3):
            stop(studio, *before)
            time.sleep(0.5)
            os.kill(*before, signal.SIGCONT)
            time.sleep(1)
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100, rate=1000)
        assert left.report().received == 100
        assert relay.workers() == before


def test_a_worker_that_cannot_keep_up_is_not_replaced(studio):
    several = [FEED, *(FEED.replace("feed", f"f{n}").replace("5001", str(5001 + n)) for n in range(1, 20))]
    with studio.relaying(*several) as relay:
        before = relay.workers()
        sending = [
            studio.start_sending("239.1.1.1:5001", count=300_000, rate=1_000_000, size=64) for _ in (1, 2)
        ]
        for traffic in sending:
            report_of(traffic)
        assert relay.workers() == before
        assert "stood still" not in relay.log()


def test_a_link_that_goes_down_under_traffic_does_not_cost_the_worker(studio):
    with studio.relaying(FEED) as relay:
        before = relay.workers()
        sending = studio.start_sending("239.1.1.1:5001", count=2000, rate=1000)
        studio.relay.ip("link set eth0 down")
        time.sleep(6)
        report_of(sending)
        studio.relay.ip("link set eth0 up")
        assert relay.workers() == before


def test_a_control_process_that_stands_still_is_replaced_and_status_answers_again(studio):
    with studio.relaying(FEED) as relay:
        (standing,) = relay.control()
        stop(studio, standing)
        shown = relay.ask("status")
        assert shown.returncode == 0, (
            "the socket is the supervisor's, so that a client waits for the next one"
        )
        control = processes(relay)["control"]
        assert control["restarts"] == 1
        assert control["reason"].startswith("killed, because it stood still for ")
        assert relay.control() != [standing]


def test_while_the_supervisor_stands_packets_are_relayed_and_clients_get_an_answer(studio):
    with studio.relaying(FEED) as relay:
        assert relay.ask("status").returncode == 0
        relay.process.send_signal(signal.SIGSTOP)
        try:
            left = Receiver(studio.left, "239.2.2.2:6001")
            studio.send("239.1.1.1:5001", count=100, rate=1000)
            received = left.report().received
            shown, reloaded = relay.ask("status"), relay.ask("reload", "--timeout", "3")
        finally:
            relay.process.send_signal(signal.SIGCONT)
        assert received == 100
        assert (shown.returncode, "feed" in shown.stdout) == (0, True)
        assert reloaded.returncode == 1
        assert reloaded.stderr.startswith("mcrelay: no answer in time")
