"""A failing output, device, neighbour or worker costs no other flow a packet."""

import os
import select
import signal
import socket
import time

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import wait_until
from mcrelay.reconcile.lifecycle import LONG_LIFE_S
from mcrelay.traffic.endpoint import Endpoint, bind_to_device
from mcrelay.traffic.sockets import open_receiver
from mcrelay.worker.array_path import MAX_BATCH_PACKETS
from tests.netns.support.relay_observer import (
    Receivers,
    Sending,
    assert_all_arrived,
    link_of,
    prioritize,
    received,
    summary,
)

pytestmark = pytest.mark.planes("userspace")
BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)


# Outputs.

TWO_RULES = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: ["
    "{interface: left, address: 10.2.0.2, port: 6001}, {interface: right, group: 239.2.2.2, port: 6001}]}",
    "other: {input: {interface: studio, group: 239.1.1.2, port: 5001},"
    " outputs: [{interface: right, group: 239.2.2.3, port: 6001}]}",
)


def device_vanishes(studio):
    studio.relay.ip("link delete eth1")


def device_goes_down(studio):
    studio.relay.ip("link set eth1 down")


def neighbour_falls_silent(studio):
    studio.left.ip("link set eth0 arp off")
    studio.relay.ip("neighbour flush dev eth1")


@BOTH_PLANES
@pytest.mark.parametrize("fails", [device_vanishes, device_goes_down, neighbour_falls_silent])
def test_a_failing_output_under_load_costs_no_other_output_or_rule_a_packet(studio, fails):
    with studio.relaying(*TWO_RULES) as relay:
        right = Receivers(studio.right, ["239.2.2.2:6001", "239.2.2.3:6001"])
        before = received(studio.left, "eth0")
        with Sending(studio.sender, "239.1.1.1:5001", "239.1.1.2:5001", rate=10_000) as sending:
            wait_until(lambda: received(studio.left, "eth0") > before + 1000, "traffic on the left")
            fails(studio)
            wait_until(lambda: has_failed(studio, relay), "the failure")
            time.sleep(0.5)
        reports = right.reports()
        counted = summary(relay)
    for group, destination in (("239.1.1.1", "239.2.2.2"), ("239.1.1.2", "239.2.2.3")):
        assert_all_arrived(reports[f"{destination}:6001"], sending.sent[f"{group}:5001"])
    assert counted.rules["feed"].packets == sending.sent["239.1.1.1:5001"]


def has_failed(studio, relay):
    """Why the output on the left fails: its device is gone, the kernel refuses it, or no host answers."""
    counted = summary(relay)
    if "eth1 is absent" in counted.states["feed"]:
        return True
    if counted.outputs["feed", "left:10.2.0.2:6001"].drops:
        return True
    before = received(studio.left, "eth0")
    time.sleep(0.2)
    return received(studio.left, "eth0") < before + 100  # questions of ARP, and no traffic


@BOTH_PLANES
def test_a_neighbour_that_never_answers_costs_other_outputs_of_the_socket_no_packet(studio):
    rule = (
        "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: ["
        "{interface: left, address: 10.2.0.77, port: 6001}, {interface: left, group: 239.2.2.2, port: 6001}]}"
    )
    # The kernel gives a neighbour up after three questions: let that happen several times.
    studio.relay.sysctl("net.ipv4.neigh.eth1.retrans_time_ms", 100)
    with studio.relaying(rule):
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            time.sleep(1.5)
        report = left.report()
    assert_all_arrived(report, sending.sent["239.1.1.1:5001"])


# Workers.

SOURCE_PORT = 4000
GROUPS = [f"239.1.1.{number}" for number in range(1, 17)]


def several_workers(studio, number=2):
    """A configuration with so many workers, and a rule for each group."""
    rules = (
        f"stream-{group}: {{input: {{interface: studio, group: {group}, port: 5001}},"
        f" outputs: [{{interface: left, group: {group}, port: 6001}}]}}"
        for group in GROUPS
    )
    return f"workers: {number}\n" + studio.config(*rules)


def streams(studio, rate):
    """All groups, from one port: the kernel hands out flows by addresses and ports."""
    return Sending(studio.sender, *(f"{group}:5001" for group in GROUPS), rate=rate, source_port=SOURCE_PORT)


def receivers(studio):
    return Receivers(studio.left, [f"{group}:6001" for group in GROUPS])


@pytest.mark.parametrize("number", [2, 3])
def test_several_workers_keep_each_flow_in_order_and_send_nothing_twice(studio, number):
    with studio.daemon(several_workers(studio, number)) as relay:
        left = receivers(studio)
        with streams(studio, 1500) as sending:
            time.sleep(1)
        reports = left.reports()
        assert len(relay.workers()) == number
    for group in GROUPS:
        assert_all_arrived(reports[f"{group}:6001"], sending.sent[f"{group}:5001"])


def groups_of(studio, relay, worker):
    """Find the groups that only this worker relays: those that stay away while it is stopped.

    The supervisor kills a worker that is stopped for 3 s, so no process is started meanwhile.
    """
    with studio.left.enter_namespace():
        left = {open_receiver(Endpoint(group, 6001), "eth0", []): group for group in GROUPS}
    with studio.sender.enter_namespace():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    came = set()
    with sender:
        bind_to_device(sender, "eth0")
        sender.bind(("", SOURCE_PORT))
        os.kill(worker, signal.SIGSTOP)
        for group in GROUPS:
            sender.sendto(b"where", (group, 5001))
        while ready := select.select([one for one in left if left[one] not in came], (), (), 0.3)[0]:
            came.update(left[one] for one in ready)
        os.kill(worker, signal.SIGCONT)
    wait_until(lambda: link_of(relay).total == len(GROUPS), "the packets that were held up")
    for one in left:
        one.close()
    return set(GROUPS) - came


def test_killing_one_of_two_workers_costs_the_flows_of_the_other_no_packet(studio):
    with studio.daemon(several_workers(studio)) as relay:
        killed, other = relay.workers()
        of_killed = groups_of(studio, relay, killed)
        of_other = set(GROUPS) - of_killed
        assert of_killed
        assert of_other
        left = receivers(studio)
        with streams(studio, 1500) as sending:
            time.sleep(0.5)
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: killed not in relay.workers() and len(relay.workers()) == 2, "another worker")
            time.sleep(1)
        reports, overrun = left.reports(), link_of(relay).drops.get("overrun", 0)
        assert other in relay.workers()
    for group in of_other:
        assert_all_arrived(reports[f"{group}:6001"], sending.sent[f"{group}:5001"])
    # What the dead worker had in its ring was relayed by the next one.
    back = sum(reports[f"{group}:6001"].received for group in of_killed)
    assert back + overrun == sum(sending.sent[f"{group}:5001"] for group in of_killed)
    assert sum(reports[f"{group}:6001"].duplicated for group in of_killed) <= MAX_BATCH_PACKETS


KILLS = 20


def kill_and_await_packets(studio, relay):
    """Kill the worker, and wait until packets come out again."""
    (worker,) = relay.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in relay.workers(), "the end of the worker")
    silent = received(studio.left, "eth0")
    wait_until(lambda: received(studio.left, "eth0") > silent, "packets")


def test_a_worker_that_is_killed_twenty_times_loses_nothing_that_fits_the_ring(studio):
    with studio.relaying(FEED) as relay:
        prioritize(relay)
        left = Receiver(studio.left, "239.2.2.2:6001", idle=2)
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            for _ in range(KILLS):
                time.sleep(LONG_LIFE_S + 0.1)  # it has proved itself: no pause grows
                kill_and_await_packets(studio, relay)
        report, link = left.report(), link_of(relay)
    overrun = link.drops.get("overrun", 0)
    assert report.received + report.socket_drops == sending.sent["239.1.1.1:5001"] - overrun
    assert report.duplicated <= KILLS * MAX_BATCH_PACKETS
    assert report.reordered == report.corrupt == 0
