"""A reload touches only what changed, and a bad file changes nothing."""

import time

from mcrelay.lab import Receiver, report_of, send

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


def test_twenty_reloads_under_traffic_cost_an_untouched_rule_nothing(studio):
    with studio.relaying(FEED, changing(1)) as relay:
        workers = relay.workers()
        left = Receiver(studio.left, "239.2.2.2:6001")
        sending = studio.start_sending("239.1.1.1:5001", count=100_000)
        for number in range(2, 22):
            relay.reload(studio.config(FEED, changing(number)))
        assert sending.poll() is None  # the reloads happened under traffic
        report_of(sending)
        report = left.report()
        assert relay.workers() == workers
        assert "239.1.2.21" in studio.relay.groups("eth0")
        assert "239.1.2.20" not in studio.relay.groups("eth0")
    assert workers
    assert report.received == 100_000
    assert report.flawless


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
        afterwards = right.interrupted()
        report_of(sending)
        report = left.report()
    assert report.received == 50_000
    assert report.flawless
    assert 0 < while_relayed.received < 25_000
    assert while_relayed.flawless
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
    assert report.flawless


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
