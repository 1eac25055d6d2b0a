"""A reload touches only what changed, and a bad file changes nothing."""

import socket
import time
from dataclasses import dataclass, field

import pytest

from mcrelay.lab import Receiver, report_of, send
from mcrelay.lab.command import wait_until
from mcrelay.linux.constants import ETH_P_IP, SO_RCVBUFFORCE
from tests.netns.support.relay_observer import Sending, assert_all_arrived

pytestmark = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
EXTRA = (
    "extra: {input: {interface: studio, group: 239.1.1.9, port: 5009},"
    " outputs: [{interface: right, group: 239.2.2.9, port: 6009}]}"
)
LATE = (
    "late: {input: {interface: late, group: 239.1.1.7, port: 5007},"
    " outputs: [{interface: left, group: 239.2.2.7, port: 6007}]}"
)


def changing(number):
    """A rule that is another one each time."""
    return (
        f"changing: {{input: {{interface: studio, group: 239.1.2.{number}, port: 5002}},"
        f" outputs: [{{interface: right, group: 239.2.3.{number}, port: 6002}}]}}"
    )


IGMP_TRIES = 2  # how often a host reports each change (the robustness variable of RFC 3376)


@dataclass(frozen=True, slots=True)
class Igmp:
    """The IP packets that come to a host, heard from the moment that this is made."""

    wire: socket.socket
    messages: list[bytes] = field(default_factory=list)

    @classmethod
    def heard_by(cls, host):
        """Begin to listen."""
        with host.enter_namespace():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        wire.setblocking(False)
        return cls(wire)

    def about(self, group):
        """How many messages so far have named this group."""
        try:
            while True:
                self.messages.append(self.wire.recv(2048))
        except BlockingIOError:
            wanted = socket.inet_aton(group)
            return sum(one[9] == socket.IPPROTO_IGMP and wanted in one[24:] for one in self.messages)


def test_a_hundred_reloads_cost_an_untouched_rule_no_packet_no_worker_and_no_igmp(studio):
    igmp = Igmp.heard_by(studio.sender)
    with studio.relaying(FEED, changing(0)) as relay:
        workers = relay.workers()
        assert bool(workers) == studio.has_workers
        wait_until(lambda: igmp.about("239.1.1.1") == IGMP_TRIES, "the reports of the first join")
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            for number in range(1, 101):
                assert relay.reload(studio.config(FEED, changing(number))).startswith("applied")
        report = left.report()
        assert relay.workers() == workers
        assert "239.1.2.100" in studio.relay.groups("eth0")
        assert "239.1.2.99" not in studio.relay.groups("eth0")
        assert igmp.about("239.1.1.1") == IGMP_TRIES
        assert all(igmp.about(f"239.1.2.{number}") for number in range(101))  # it would have been heard
    assert_all_arrived(report, sending.sent["239.1.1.1:5001"])


def test_a_rule_added_and_removed_under_traffic_starts_and_stops_exactly_that_flow(studio):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        right = Receiver(studio.right, "239.2.2.9:6009")
        sending = studio.start_sending("239.1.1.1:5001", count=50_000, rate=10_000)
        extra = studio.start_sending("239.1.1.9:5009", count=25_000, rate=5_000)
        time.sleep(1)
        relay.reload(studio.config(FEED, EXTRA))
        time.sleep(1)
        relay.reload(studio.config(FEED))
        while_relayed = right.report()
        right = Receiver(studio.right, "239.2.2.9:6009")
        assert extra.poll() is None  # still sending, and nobody relays it
        report_of(extra)
        afterwards = right.interrupt()
        report_of(sending)
        report = left.report()
    assert report.received == 50_000
    assert report.is_flawless
    assert 0 < while_relayed.received < 25_000
    assert while_relayed.is_flawless
    assert afterwards.received == 0


def test_an_invalid_reload_under_traffic_changes_nothing_and_says_where(studio):
    with studio.relaying(FEED) as relay:
        workers = relay.workers()
        left = Receiver(studio.left, "239.2.2.2:6001")
        sending = studio.start_sending("239.1.1.1:5001", count=40_000)
        time.sleep(0.5)
        wrong = EXTRA.replace("port: 5009", "port: 70000")
        config = studio.config(FEED, wrong)
        relay.reload(config)
        report_of(sending)
        report = left.report()
        assert relay.workers() == workers
        before, _, _ = config.partition("70000")
        line, column = before.count("\n") + 1, len(before) - before.rindex("\n")
        assert f"{relay.config}:{line}:{column}: " in relay.log()
        assert "239.1.1.9" not in studio.relay.groups("eth0")
    assert report.received == 40_000
    assert report.is_flawless


def test_a_device_that_is_missing_stops_only_its_own_rules_until_it_is_there(studio):
    config = studio.config(FEED, LATE).replace("rules:", "  late: {device: eth9}\nrules:")
    with studio.daemon(config) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=1000, rate=5000)
        assert left.report().received == 1000
        assert "eth9" in relay.summary()

        late = studio.lab.host("late")
        studio.lab.link(late.end("eth0", "192.168.7.7/24"), studio.relay.end("eth9", "10.9.0.1/24"))
        relay.reload()
        left = Receiver(studio.left, "239.2.2.7:6007")
        send(late, "239.1.1.7:5007", "--interface=eth0", "--count=1000", "--rate=5000")
        assert left.report().received == 1000
