"""A rule that receives nothing while its packets come in elsewhere says where, and what to correct."""

import json
import socket

import pytest

from mcrelay.lab.command import wait_until
from tests.netns.support.frames import Frame
from tests.netns.support.worker_harness import FEW, MANY, UdpListener, numbered_payloads

pytestmark = pytest.mark.planes("userspace", "kernel")

# `other` listens on the device of the left network, so that packets that come in there are seen.
FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: right, group: 239.2.2.2, port: 6001}]}"
)
OTHER = (
    "other: {input: {interface: left, group: 239.1.1.7, port: 5007},"
    " outputs: [{interface: right, group: 239.2.2.7, port: 6007}]}"
)
UNICAST = (
    "feed: {input: {interface: studio, address: 10.1.0.1, port: 5001},"
    " outputs: [{interface: right, group: 239.2.2.2, port: 6001}]}"
)
ON_OTHER_DEVICE = (
    "nothing on eth0, but {count} packets came in on eth1 (interface left):"
    " correct `interface` of the input, or the cabling"
)


def packet_socket(host):
    with host.enter_namespace():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("eth0", 0))
    return wire


def send(host, count, **fields):
    with packet_socket(host) as wire:
        for payload in numbered_payloads(count):
            wire.send(bytes(Frame(payload=payload, **fields)))


def status_of(relay, name="feed"):
    answer = relay.ask("status", "--json")
    assert answer.returncode == 0
    [found] = [rule for rule in json.loads(answer.stdout)["rules"] if rule["name"] == name]
    return found


def texts_of(relay):
    """The text of every verb that shows a hint, each in one line."""
    answers = [relay.ask(*words) for words in (("status", "feed"), ("status",), ("list",))]
    return [" ".join(answer.stdout.split()) for answer in answers]


def await_near_misses(relay, kind, count):
    wait_until(
        lambda: status_of(relay)["input"]["near_misses"].get(kind, {}).get("packets") == count,
        "the near misses",
    )
    return status_of(relay)


def assert_shown(relay, hint):
    assert status_of(relay)["hint"] == hint
    detail, table, listed = texts_of(relay)
    assert hint[1:] in detail
    assert hint in table
    assert hint in listed
    assert relay.ask("status", "--exit-code").returncode == 0


@pytest.mark.parametrize("count", [FEW * 3, MANY])
@pytest.mark.parametrize(
    ("rule", "fields"),
    [(FEED, {}), (UNICAST, {})],
    ids=["group", "unicast"],
)
def test_packets_on_another_device_are_told(studio, rule, fields, count):
    if rule is UNICAST:
        mac = studio.relay.run(["ip", "-brief", "link", "show", "eth1"]).stdout.split()[2]
        fields = {"destination": "10.1.0.1", "mac": bytes.fromhex(mac.replace(":", ""))}
    with studio.relaying(rule, OTHER) as relay:
        send(studio.left, count, **fields)
        found = await_near_misses(relay, "other_device", count)
        assert found["state"] == "active"
        assert found["reason"] == ""
        miss = found["input"]["near_misses"]["other_device"]
        assert (miss["device"], miss["interface"]) == ("eth1", "left")
        assert_shown(relay, ON_OTHER_DEVICE.format(count=count))
        assert status_of(relay, "other")["hint"] == ""


def test_the_hint_goes_when_packets_arrive_on_the_right_device(studio):
    right = UdpListener(studio.right)
    with studio.relaying(FEED, OTHER) as relay:
        send(studio.left, 5)
        await_near_misses(relay, "other_device", 5)
        send(studio.sender, 7)
        assert len(right.receive_payloads(7)) == 7
        wait_until(lambda: status_of(relay)["hint"] == "", "the end of the hint")


def test_rules_for_one_group_on_two_devices_give_no_hint(studio):
    both = (
        FEED.replace("feed", "twin").replace("interface: studio", "interface: left").replace("6001", "6002")
    )
    right = UdpListener(studio.right)
    with studio.relaying(FEED, both) as relay:
        send(studio.left, 20)
        send(studio.sender, 20)
        right.receive_payloads(20)
        wait_until(lambda: status_of(relay, "twin")["input"]["packets"] == 20, "the packets of both")
        for name in ("feed", "twin"):
            found = status_of(relay, name)
            assert (found["hint"], found["input"]["near_misses"]) == ("", {})


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize(
    "tags", [((0x8100, 100),), ((0x8100, 0xE000), (0x8100, 0xE064)), ((0x88A8, 100), (0x8100, 7))]
)
def test_the_tag_of_tagged_frames_is_told(studio, tags, count):
    with studio.relaying(FEED) as relay:
        send(studio.sender, count, tags=tags)
        await_near_misses(relay, "tagged", count)
        frames = "1 frame" if count == 1 else f"{count} frames"
        assert_shown(
            relay,
            f"{frames} to 239.1.1.1 had VLAN tag 100:"
            " name the VLAN's device, such as eth0.100, in `interfaces`",
        )
        document = json.loads(relay.ask("status", "--json").stdout)
        assert document["interfaces"][0]["drops"]["no_rule"] == count


def test_packets_to_another_port_are_told(studio):
    with studio.relaying(FEED) as relay:
        send(studio.sender, 30, port=5002)
        await_near_misses(relay, "other_port", 30)
        assert_shown(
            relay,
            "30 packets came in for other ports of 239.1.1.1, the last for port 5002:"
            " correct `port` of the input, which is 5001, if they are meant",
        )


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize(
    "tags", [((0x8100, 0),), ((0x8100, 0xE000),), ((0x88A8, 0x1000),), ((0x88A8, 0xE000), (0x8100, 0))]
)
def test_frames_with_priority_tags_are_relayed_like_untagged_ones(studio, tags, count):
    right = UdpListener(studio.right)
    with studio.relaying(FEED) as relay:
        send(studio.sender, count, tags=tags)
        assert right.receive_payloads(count) == numbered_payloads(count)
        found = status_of(relay)
        assert (found["hint"], found["input"]["near_misses"], found["dropped"]) == ("", {}, 0)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_damaged_packets_are_not_repaired(studio, count):
    right = UdpListener(studio.right)
    with studio.relaying(FEED) as relay:
        send(studio.sender, count, damage=0x0100)
        send(studio.sender, 3, damage=0)
        assert right.receive_payloads(3) == numbered_payloads(3)
        wait_until(lambda: status_of(relay)["input"]["drops"]["malformed"] == count, "the damaged packets")
        assert "a wrong checksum of IP or UDP" in texts_of(relay)[0]


def test_a_silent_unicast_input_gets_advice_without_igmp(studio):
    with studio.relaying(UNICAST) as relay:
        detail = texts_of(relay)[0]
    assert "No packet for 10.1.0.1:5001 has arrived on eth0" in detail
    assert "IGMP" not in detail
