"""The relay copes with full queues, taken ports, endless link changes and deaths at bad moments."""

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack

import pytest

from mcrelay.lab import Receiver, report_of
from mcrelay.lab.command import mcrelay, wait_until
from tests.netns.support.relay_observer import assert_all_arrived, summary

pytestmark = pytest.mark.planes("userspace")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)


def test_packets_that_a_full_device_queue_drops_are_not_counted_as_sent(studio):
    # The bucket is larger than any run of packets, so that the shaper drops a run as a whole or not at all:
    # of a run that it cuts, the kernel reports no loss.
    shaper = ["rate", "1mbit", "burst", "100000", "limit", "3000"]
    studio.relay.run(["tc", "qdisc", "add", "dev", "eth1", "root", "tbf", *shaper])
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001", idle=2)
        studio.send("239.1.1.1:5001", count=400, rate=200)
        received = left.report().received
        (output,) = summary(relay).outputs.values()
    assert 0 < received < 350
    assert output.drops["ENOBUFS"] == 400 - output.packets
    assert output.packets == received


def test_a_hundred_failing_outputs_do_not_stop_the_others(studio):
    rules = [
        f"r{n}: {{input: {{interface: studio, group: 239.1.1.{n}, port: 5001}},"
        f" outputs: [{{interface: left, group: 239.2.2.{n}, port: 6001, source_port: {20_000 + n}}}]}}"
        for n in range(1, 151)
    ]
    with ExitStack() as taken:
        with studio.relay.enter_namespace():
            for n in range(1, 101):
                other = taken.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                other.bind(("10.2.0.1", 20_000 + n))
        with studio.relaying(*rules) as relay:
            assert "started: generation 1, 150 rules (50 active, 100 failed)" in relay.log()
            assert relay.stop(signal.SIGTERM) < 2


def test_a_worker_that_is_killed_while_it_resumes_a_ring_leaves_its_packets_to_the_next(studio):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001", idle=3)
        sending = studio.start_sending("239.1.1.1:5001", count=15_000, rate=5_000)
        wait_until(lambda: summary(relay).rules["feed"].packets > 1000, "traffic")
        (first,) = relay.workers()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: relay.workers() not in ([], [first]), "a successor")
        (successor,) = relay.workers()
        os.kill(successor, signal.SIGKILL)
        report_of(sending)
        report = left.report()
    assert report.lost <= report.socket_drops
    assert report.received + report.socket_drops == 15_000


def test_a_reserved_port_of_an_input_can_become_the_source_port_of_an_output(studio):
    take = (
        "take: {input: {interface: left, address: 10.2.0.1, port: 5000},"
        " outputs: [{interface: right, group: 239.3.3.3}]}"
    )
    give = (
        "give: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
        " outputs: [{interface: left, address: 10.2.0.2, port: 5000, source_port: 5000}]}"
    )
    with studio.relaying(take) as relay:
        assert "2 rules (2 active)" in relay.reload(studio.config(take, give))


def test_a_daemon_that_is_started_as_root_can_use_ports_below_1024(studio):
    clock = (
        "clock: {input: {interface: left, address: 10.2.0.1, port: 319},"
        " outputs: [{interface: right, group: 224.0.1.129, port: 319, source_port: 319}]}"
    )
    with studio.relaying(clock) as relay:
        assert "1 rule (1 active)" in relay.log()


def test_endless_changes_of_links_do_not_hide_a_new_device(studio):
    late = (
        "late: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
        " outputs: [{interface: late, group: 239.2.2.2}]}"
    )
    config = studio.config(late).replace("rules:", "  late: {device: eth9, source: 10.2.0.1}\nrules:")
    noise = "while ip address add 127.0.0.9/8 dev lo && ip address delete 127.0.0.9/8 dev lo; do :; done"
    with studio.daemon(config) as relay:
        changes = studio.relay.start(["sh", "-c", noise], stderr=subprocess.DEVNULL)
        studio.relay.ip("link add eth9 type veth peer name eth8", "link set eth9 up", "link set eth8 up")
        wait_until(lambda: "rule late: active" in relay.log(), "the late device")
        changes.kill()
        changes.wait()


def test_a_signal_right_after_the_start_does_not_end_it(studio):
    config = studio.folder / "early.yaml"
    config.write_text(studio.config(FEED))
    folders = ("--run-dir", str(studio.folder / "early"), "--state-dir", str(studio.folder / "state"))
    command = mcrelay("run", "-c", str(config), *folders)
    process = studio.relay.start(command, stderr=subprocess.PIPE)
    caught = f"/proc/{process.pid}/status"
    bit = 1 << (signal.SIGHUP - 1)
    wait_until(lambda: _signals(caught) & bit, "the signal to be caught")
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
    wait_until(lambda: "239.1.1.1" in studio.relay.groups("eth0"), "the relay")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0


def _signals(status):
    with open(status) as lines:
        return next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))


def test_a_device_that_is_down_is_reported(studio):
    studio.relay.ip("link set eth1 down")
    with studio.relaying(FEED) as relay:
        assert "rule feed: unresolved: device eth1 is down" in relay.log()
        studio.relay.ip("link set eth1 up")
        wait_until(lambda: "rule feed: active\n" in relay.log(), "the device")


def test_counters_survive_the_removal_and_return_of_an_address(studio):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=50, rate=1000)
        assert_all_arrived(left.report(), 50)
        studio.relay.ip("address delete 10.2.0.1/24 dev eth1")
        wait_until(lambda: "rule feed: unresolved" in relay.log(), "the address to go")
        time.sleep(0.2)
        studio.relay.ip("address add 10.2.0.1/24 dev eth1")
        wait_until(lambda: "rule feed: active\n" in relay.log(), "the address")
        assert summary(relay).rules["feed"].packets == 50
