"""Many outputs, streams, packets and rules: no packet is lost."""

import os
import sys

import pytest

from mcrelay.lab import Receiver, send
from tests.netns.support.relay_observer import Receivers, Sending, assert_all_arrived, prioritize, summary

pytestmark = pytest.mark.planes("userspace", "kernel")

INPUT = "input: {interface: studio, group: 239.1.1.1, port: 5001}"


@pytest.mark.parametrize(("outputs", "count", "rate"), [(8, 20_000, 10_000), (50, 3000, 1500)])
def test_one_input_fans_out_to_many_outputs(studio, outputs, count, rate):
    destinations = [f"239.2.2.{1 + number}:{6001 + number}" for number in range(outputs)]
    groups = (destination.split(":") for destination in destinations)
    outputs_text = ", ".join(f"{{interface: left, group: {group}, port: {port}}}" for group, port in groups)
    with studio.relaying(f"fan-out: {{{INPUT}, outputs: [{outputs_text}]}}"):
        left = Receivers(studio.left, destinations)
        studio.send("239.1.1.1:5001", count=count, rate=rate)
        reports = left.reports()
    assert len(reports) == outputs
    for report in reports.values():
        assert_all_arrived(report, count)


def relayed_to(address):
    """Return the destination of the output of a stream: 239.2.2.3 for a stream to 239.1.2.3."""
    return address.replace("239.1.", "239.2.")


def stream(number, group):
    """Return the rule of one stream."""
    return (
        f"stream-{number}: {{input: {{interface: studio, group: {group}, port: 5000}},"
        f" outputs: [{{interface: left, group: {relayed_to(group)}}}]}}"
    )


def send_streams(studio, groups, count, rate, size=1400):
    """Send `count` packets to each group, `rate` a second."""
    destinations = (f"{group}:5000" for group in groups)
    options = ("--interface=eth0", f"--count={count}", f"--rate={rate}", f"--size={size}", "--ttl=1")
    send(studio.sender, *destinations, *options)


@pytest.mark.parametrize(
    ("streams", "count", "rate"),
    [
        pytest.param(50, 1500, 5_000_000 / 8 / 1400, id="50 streams of 5 Mbit/s"),
        pytest.param(200, 100, 100, id="200 groups on one device"),
    ],
)
def test_many_concurrent_streams_lose_nothing(studio, streams, count, rate):
    groups = [f"239.1.1.{1 + number}" for number in range(streams)]
    with studio.relaying(*(stream(number, group) for number, group in enumerate(groups))) as relay:
        assert studio.relay.groups("eth0") >= set(groups)
        left = Receivers(studio.left, [f"{relayed_to(group)}:5000" for group in groups])
        send_streams(studio, groups, count, rate)
        reports = left.reports()
        counted = summary(relay)
    assert len(reports) == streams
    for report in reports.values():
        assert_all_arrived(report, count)
    assert {row.packets for row in counted.rules.values()} == {count}


def test_a_million_packets_at_fifty_thousand_per_second_all_arrive(studio):
    with studio.relaying(f"feed: {{{INPUT}, outputs: [{{interface: left}}]}}") as relay:
        prioritize(relay)
        left = Receiver(studio.left, "239.1.1.1:5001")
        options = ("--interface=eth0", "--count=1000000", "--rate=50000", "--segments", "--ttl=1")
        send(studio.sender, "239.1.1.1:5001", *options)
        report = left.report()
    assert_all_arrived(report, 1_000_000)


MAX_DESCRIPTORS = 256  # fewer than the sockets of 10,000 memberships, with 20 memberships a socket


@pytest.fixture
def python(tmp_path):
    """A Python with a soft limit of descriptors that is too low, as a login shell may have it."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nulimit -Sn {MAX_DESCRIPTORS}\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_ten_thousand_rules_start_with_few_descriptors_and_a_reload_of_one_costs_no_packet(studio, python):
    groups = [f"239.1.{number // 250}.{1 + number % 250}" for number in range(10_000)]
    rules = [stream(number, group) for number, group in enumerate(groups)]
    changed = [*rules[:5000], stream(5000, "239.1.99.99"), *rules[5001:]]
    chosen = [groups[0], groups[4999], groups[9999]]
    with studio.relaying(*rules, python=python) as relay:
        prioritize(relay)
        assert studio.relay.groups("eth0") >= set(groups)
        assert len(os.listdir(f"/proc/{relay.process.pid}/fd")) > MAX_DESCRIPTORS
        workers = relay.workers()
        left = Receivers(studio.left, [f"{relayed_to(group)}:5000" for group in (*chosen, "239.1.99.99")])
        with Sending(studio.sender, *(f"{group}:5000" for group in chosen), rate=2000) as sending:
            relay.reload(studio.config(*changed))
        send_streams(studio, ["239.1.99.99"], 1000, 2000)
        reports = left.reports()
        assert relay.workers() == workers
        assert set(groups) - studio.relay.groups("eth0") == {groups[5000]}
    assert_all_arrived(reports["239.2.99.99:5000"], 1000)
    for group in chosen:
        assert_all_arrived(reports[f"{relayed_to(group)}:5000"], sending.sent[f"{group}:5000"])
