"""Rules in the kernel go on without the daemon, and the next daemon goes on with them."""

import json
import os
import signal
import socket

import pytest

from mcrelay.kernel import bpf, layout
from mcrelay.kernel.bpf_map import BpfMap
from mcrelay.kernel.location import daemon_name, find_parent
from mcrelay.lab import Receiver, report_of
from mcrelay.lab.command import wait_until
from tests.netns.support.frames import GROUP, PORT
from tests.netns.support.kernel_relay import attached

FEED = (
    "feed: {data_plane: kernel, input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
OTHER = FEED.replace("feed", "other").replace("5001", "5002").replace("6001", "6002")
IN_USERSPACE = FEED.replace("kernel", "userspace")


@pytest.fixture
def sender(studio):
    """A function that sends payloads to the input of the feed."""
    with studio.sender.enter_namespace():
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.168.168.55"))
        yield lambda *payloads: [opened.sendto(payload, (GROUP, PORT)) for payload in payloads]


def kill_all(studio):
    """Kill every process of the daemon at once."""
    processes = studio.relay.processes()
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    wait_until(lambda: studio.relay.processes() == [], "the end of all processes")


def rule_of(relay, name="feed"):
    rules = json.loads(relay.ask("status", "--json").stdout)["rules"]
    return next(rule for rule in rules if rule["name"] == name)


def directory(studio, relay):
    with studio.relay.enter_namespace():
        return find_parent(relay.run_dir) / daemon_name(relay.run_dir)


def test_nothing_is_lost_while_every_process_is_killed_and_started_again(studio):
    receiver = Receiver(studio.left, "239.2.2.2:6001")
    with studio.relaying(FEED):
        traffic = studio.start_sending("239.1.1.1:5001", 10_000, rate=10_000)
        wait_until(lambda: studio.left.packets_received("eth0") > 2000, "the first packets")
        kill_all(studio)
    with studio.relaying(FEED) as relay:
        report_of(traffic)
        report = receiver.report()
        assert report.is_flawless
        assert report.received == 10_000
        assert rule_of(relay)["input"]["packets"] == 10_000


def test_the_next_daemon_keeps_the_source_port_and_writes_no_flow(studio, sender, left):
    with studio.relaying(FEED, OTHER) as relay:
        sender(b"before")
        (before,) = left.receive(1)
        slots = slots_of(studio, relay)
        kill_all(studio)
    with studio.relaying(FEED, OTHER) as relay:
        sender(b"after")
        (after,) = left.receive(1)
        assert (after.source, after.source_port) == (before.source, before.source_port)
        assert slots_of(studio, relay) == slots
        assert len(slots) == 2


def slots_of(studio, relay):
    """Return the slot of each flow, by its key. A flow that is written gets a new slot."""
    (pin,) = directory(studio, relay).glob("*/maps/flows")
    return BpfMap(bpf.get(pin), layout.FLOW_KEY.size, layout.NUMBER.size).items()


def attached_to(host, device="eth0"):
    with host.enter_namespace():
        return attached(socket.if_nametoindex(device))


def test_a_daemon_that_stops_leaves_nothing(studio):
    with studio.relaying(FEED) as relay:
        place = directory(studio, relay)
        assert attached_to(studio.relay)
        assert place.exists()
    assert attached_to(studio.relay) == []
    assert not place.exists()


def test_a_rule_that_moved_to_userspace_meanwhile_is_relayed_once(studio, sender, left):
    with studio.relaying(FEED) as relay:
        place = directory(studio, relay)
        kill_all(studio)
    with studio.relaying(IN_USERSPACE):
        assert attached_to(studio.relay) == []
        assert not place.exists()
        sender(b"one")
        assert left.receive_payloads(1) == [b"one"]


def test_a_rule_that_was_deleted_meanwhile_is_relayed_no_more(studio, sender, left):
    with studio.relaying(FEED, OTHER):
        kill_all(studio)
    with studio.relaying(OTHER):
        sender(b"deleted")
    with studio.relaying(FEED):
        sender(b"added")
        assert left.receive_payloads(1) == [b"added"]


def test_a_new_version_of_the_program_takes_over_without_a_lost_packet(studio):
    receiver = Receiver(studio.left, "239.2.2.2:6001")
    with studio.relaying(FEED) as relay:
        place = directory(studio, relay)
        (version,) = place.glob("*/maps")
        traffic = studio.start_sending("239.1.1.1:5001", 10_000, rate=10_000)
        wait_until(lambda: studio.left.packets_received("eth0") > 2000, "the first packets")
        kill_all(studio)
    version.parent.rename(place / "1-earlier")
    with studio.relaying(FEED):
        assert list(place.glob("*/maps")) == [version]
        report_of(traffic)
        report = receiver.report()
        assert report.is_flawless
        assert report.received == 10_000


def test_a_device_that_comes_back_under_its_number_is_attached_again(studio):
    with studio.relaying(FEED):
        with studio.relay.enter_namespace():
            ifindex = socket.if_nametoindex("eth0")
        studio.relay.ip(
            "link delete eth0",
            f"link add eth0 index {ifindex} type veth peer name eth0 netns {studio.sender.namespace}",
            "address add 10.1.0.1/24 dev eth0",
            "link set eth0 up",
        )
        wait_until(lambda: attached_to(studio.relay), "the program on the new device")


def test_a_device_that_moves_to_another_namespace_is_left_alone(studio):
    with studio.relaying(FEED):
        studio.relay.ip(f"link set eth0 name moved netns {studio.right.namespace}")
        wait_until(lambda: not attached_to(studio.right, "moved"), "the removal of the program")
