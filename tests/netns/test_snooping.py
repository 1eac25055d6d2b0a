"""A switch with IGMP snooping forwards a group only to ports whose hosts have joined."""

import pytest

from mcrelay.lab import Daemon, Receiver, send
from mcrelay.lab.command import wait_until

CONFIG = """\
version: 1
interfaces:
  studio: {device: eth0}
  plant: {device: eth1}
rules:
"""
FEED = (
    "  feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: plant, group: 239.2.2.2, port: 6001}]}\n"
)
OTHER = (
    "  other: {input: {interface: studio, group: 239.1.1.9, port: 5001},"
    " outputs: [{interface: plant, group: 239.2.2.9, port: 6001}]}\n"
)


@pytest.fixture
def hosts(lab):
    """A sender and a relay at a snooping switch, and a receiver behind the relay."""
    sender, relay, receiver = (lab.host(name) for name in ("sender", "relay", "receiver"))
    switch = lab.switch("switch", "192.168.168.1/24")
    lab.link(sender.end("eth0", "192.168.168.55/24"), switch.port())
    lab.link(relay.end("eth0", "10.1.0.1/24"), switch.port())
    lab.link(relay.end("eth1", "10.2.0.1/24"), receiver.end("eth0", "10.2.0.2/24"))
    switch.wait()
    return sender, relay, receiver


def send_a_thousand(host, destination="239.1.1.1:5001"):
    send(host, destination, "--interface=eth0", "--count=1000", "--rate=5000", "--size=200", "--ttl=1")


def test_the_switch_forwards_a_group_only_to_its_members(hosts):
    sender, relay, _ = hosts
    before = relay.packets_received("eth0")
    send_a_thousand(sender)
    assert relay.packets_received("eth0") - before < 10
    # The kernel hands the receiver nothing from a foreign source, but the device counts what came.
    Receiver(relay, "239.1.1.1:5001")
    before = relay.packets_received("eth0")
    send_a_thousand(sender)
    assert relay.packets_received("eth0") - before >= 1000


def test_the_relay_is_a_real_member(hosts, tmp_path):
    sender, relay, receiver = hosts
    with Daemon(relay, tmp_path / "daemon", CONFIG + FEED):
        counting = Receiver(receiver, "239.2.2.2:6001")
        send_a_thousand(sender)
        report = counting.report()
    assert report.received == 1000
    assert report.is_flawless


def test_a_rule_that_a_reload_removes_leaves_its_group_and_one_that_it_adds_joins(hosts, tmp_path):
    sender, relay, receiver = hosts
    with Daemon(relay, tmp_path / "daemon", CONFIG + FEED) as daemon:
        daemon.reload(CONFIG + OTHER)
        counting = Receiver(receiver, "239.2.2.9:6001")
        send_a_thousand(sender, "239.1.1.9:5001")
        assert counting.report().received == 1000
        assert "239.1.1.1" not in relay.groups("eth0")
        assert "239.1.1.9" in relay.groups("eth0")


def test_a_daemon_that_is_killed_leaves_its_group_and_the_next_one_joins_it_again(hosts, tmp_path):
    sender, relay, receiver = hosts
    with Daemon(relay, tmp_path / "daemon", CONFIG + FEED) as daemon:
        assert "239.1.1.1" in relay.groups("eth0")
        daemon.process.kill()
        daemon.process.wait()
        wait_until(lambda: "239.1.1.1" not in relay.groups("eth0"), "the end of the membership")
    with Daemon(relay, tmp_path / "daemon", CONFIG + FEED):
        counting = Receiver(receiver, "239.2.2.2:6001")
        send_a_thousand(sender)
        assert counting.report().received == 1000
