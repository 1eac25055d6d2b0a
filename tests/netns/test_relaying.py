"""Packets of an unroutable source are sent again elsewhere, from a routable address."""

import pytest

from mcrelay.lab import Daemon, Receiver, report_of, start_sending

pytestmark = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)


def test_one_packet_is_relayed(studio):
    with studio.relaying(FEED):
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=1, size=100)
        report = left.report()
    assert report.received == 1
    assert report.is_flawless
    assert report.sources == ["10.2.0.1"]
    assert report.ttls == [64]


def test_packets_that_the_kernel_drops_are_relayed_without_loss(studio):
    with studio.relaying(FEED):
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100_000)
        report = left.report()
    assert studio.relay.counter("IPReversePathFilter") >= 100_000
    assert report.received == 100_000
    assert report.is_flawless


def test_one_input_fans_out_to_three_outputs(studio):
    fan_out = (
        "fan-out: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: ["
        "{interface: left, group: 239.2.2.2, port: 6001}, {interface: left, group: 239.2.2.3, port: 6002},"
        " {interface: right, address: 10.3.0.2, port: 6003}]}"
    )
    with studio.relaying(fan_out):
        receivers = [
            Receiver(studio.left, "239.2.2.2:6001"),
            Receiver(studio.left, "239.2.2.3:6002"),
            Receiver(studio.right, "10.3.0.2:6003"),
        ]
        studio.send("239.1.1.1:5001", count=20_000, rate=10_000)
        reports = [receiver.report() for receiver in receivers]
    assert [report.received for report in reports] == [20_000] * 3
    assert all(report.is_flawless for report in reports)
    assert [report.sources for report in reports] == [["10.2.0.1"], ["10.2.0.1"], ["10.3.0.1"]]


def test_three_inputs_fan_in_to_one_output(studio):
    rules = [
        f"camera-{number}: {{input: {{interface: studio, group: 239.1.1.{number}, port: 5001}},"
        " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
        for number in (1, 2, 3)
    ]
    with studio.relaying(*rules):
        left = Receiver(studio.left, "239.2.2.2:6001")
        sending = [
            studio.start_sending(f"239.1.1.{number}:5001", count=15_000, rate=5_000) for number in (1, 2, 3)
        ]
        for process in sending:
            report_of(process)
        report = left.report()
    assert report.received == 45_000
    assert report.is_flawless


def test_a_pair_of_rules_in_both_directions_relays_both_without_a_loop(studio):
    discovery = (
        "{}: {{input: {{interface: {}, group: 239.255.255.250, port: 1900}}, outputs: [{{interface: {}}}]}}"
    )
    forth, back = discovery.format("forth", "studio", "left"), discovery.format("back", "left", "studio")
    studio.sender.ip("route add 10.1.0.0/24 dev eth0")  # else its own rp_filter keeps the answers out
    with studio.relaying(forth, back):
        at_sender, at_left = (Receiver(host, "239.255.255.250:1900") for host in (studio.sender, studio.left))
        before = studio.sender.packets_received("eth0"), studio.left.packets_received("eth0")
        options = ("--interface=eth0", "--count=2000", "--rate=2000", "--ttl=1")
        sending = [
            start_sending(host, "239.255.255.250:1900", *options) for host in (studio.sender, studio.left)
        ]
        for process in sending:
            report_of(process)
        reports = at_sender.report(), at_left.report()
        after = studio.sender.packets_received("eth0"), studio.left.packets_received("eth0")
    assert reports[0].received_from["10.1.0.1"] == 2000
    assert reports[1].received_from["10.2.0.1"] == 2000
    assert all(report.is_flawless for report in reports)
    # Membership reports and ARP are a few packets; an echo would be 2000, a loop far more.
    assert all(2000 <= new - old < 2100 for old, new in zip(before, after, strict=True))


def test_two_relays_in_a_row_carry_multicast_over_unicast(studio):
    far = studio.lab.host("far")
    studio.lab.link(studio.left.end("eth1", "10.4.0.1/24"), far.end("eth0", "10.4.0.2/24"))
    near_side = (
        "near: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
        " outputs: [{interface: left, address: 10.2.0.2, port: 7001}]}"
    )
    far_side = """\
version: 1
interfaces:
  tunnel: {device: eth0}
  plant: {device: eth1}
rules:
  far: {input: {interface: tunnel, address: 10.2.0.2, port: 7001},
        outputs: [{interface: plant, group: 239.3.3.3, port: 6001}]}
"""
    with studio.relaying(near_side), Daemon(studio.left, studio.folder / "far", far_side):
        receiver = Receiver(far, "239.3.3.3:6001")
        studio.send("239.1.1.1:5001", count=50_000)
        report = receiver.report()
    assert report.received == 50_000
    assert report.is_flawless
    assert report.sources == ["10.4.0.1"]


def test_a_rule_with_sources_relays_only_these(studio):
    studio.sender.ip("address add 192.168.168.66/24 dev eth0")
    ssm = (
        "ssm: {input: {interface: studio, group: 232.1.1.1, port: 5001, sources: [192.168.168.55]},"
        " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
    )
    with studio.relaying(ssm) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        wanted = studio.start_sending("232.1.1.1:5001", count=5000, rate=5000)
        unwanted = studio.start_sending("232.1.1.1:5001", count=3000, rate=3000, source="192.168.168.66")
        report_of(wanted), report_of(unwanted)
        report = left.report()
        summary = relay.summary()
    assert report.received == 5000
    assert report.is_flawless
    assert "3000" in summary
