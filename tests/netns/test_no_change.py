"""What a reload does not touch goes on under traffic: nothing lost, the same sockets, the same counters."""

from collections import Counter
from pathlib import Path

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import wait_until
from tests.netns.support.relay_observer import Sending, assert_all_arrived, prioritize, summary
from tests.netns.test_reload import IGMP_TRIES, Igmp

pytestmark = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001},"
    " {interface: right, group: 239.2.2.2, port: 6001}]}"
)
RIGHT = ", {interface: right, group: 239.2.2.2, port: 6001}"
ANOTHER_RIGHT = (
    ", {interface: right, group: 239.2.2.3, port: 6002}",  # elsewhere
    ", {interface: right, group: 239.2.2.3, port: 6002, ttl: 9, source_port: 4000}",  # otherwise
    "",
)
OTHER = (
    "other: {input: {interface: studio, group: 239.1.1.9, port: 5009},"
    " outputs: [{interface: right, group: 239.2.2.9, port: 6009}]}"
)
BLOCK = """feed:  # the same, as others like to write it
    outputs:
      - {port: 6001, group: "239.2.2.2", interface: left}
      - {port: 6001, group: "239.2.2.2", interface: right}
    input:
      port: 5001
      group: 239.1.1.1
      interface: studio"""


def sockets(relay):
    """The sockets that the supervisor and its workers hold."""
    held = Counter()
    for process in (relay.process.pid, *relay.workers()):
        descriptors = Path(f"/proc/{process}/fd").iterdir()
        held += Counter(link for one in descriptors if "socket:" in (link := str(one.readlink())))
    return held


def write_drop_in(relay, text):
    folder = relay.config.with_name("mcrelay.d")
    folder.mkdir(exist_ok=True)
    (folder / "feed.yaml").write_text(text)


def test_a_rule_written_otherwise_or_elsewhere_is_not_touched(studio):
    igmp = Igmp.heard_by(studio.sender)
    with studio.relaying(FEED, OTHER) as relay:
        prioritize(relay)
        wait_until(lambda: igmp.about("239.1.1.1") == IGMP_TRIES, "the reports of the first join")
        held = sockets(relay)
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            answers = [relay.reload(studio.config(*rules)) for rules in [(OTHER, FEED), (BLOCK, OTHER)]]
            write_drop_in(relay, f"# by hand\nrules:\n  {FEED}\n")
            answers.append(relay.reload(studio.config(OTHER)))
        sent, report = sending.sent["239.1.1.1:5001"], left.report()
        assert [answer.split(",")[0] for answer in answers] == [
            f"applied: generation {number}" for number in (2, 3, 4)
        ]
        assert relay.log().count("0 added, 0 changed, 0 removed, 2 kept") == 3
        assert sockets(relay) == held
        assert igmp.about("239.1.1.1") == IGMP_TRIES
        assert summary(relay).rules["feed"].packets == sent
        assert "mcrelay.d/feed.yaml" in relay.ask("list").stdout
    assert_all_arrived(report, sent)


def test_a_changed_output_costs_the_other_outputs_of_its_rule_no_packet_and_no_count(studio):
    with studio.relaying(FEED, OTHER) as relay:
        prioritize(relay)
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            for another in ANOTHER_RIGHT:
                changed = FEED.replace(RIGHT, another)
                assert relay.reload(studio.config(changed, OTHER)).startswith("applied")
            assert relay.reload(studio.config(FEED, OTHER)).startswith("applied")
        sent, report = sending.sent["239.1.1.1:5001"], left.report()
        counted = summary(relay)
    assert_all_arrived(report, sent)
    assert counted.rules["feed"].packets == sent
    assert counted.outputs["feed", "left:239.2.2.2:6001"].packets == sent
    assert counted.outputs["feed", "right:239.2.2.2:6001"].packets < sent  # it was away for a while


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("group: 239.1.1.9", "group: 239.1.1.8"),
        ("port: 5009", "port: 5008"),
        ("port: 5009", "port: 5009, sources: [192.168.168.77]"),
        ("interface: studio", "interface: left"),
    ],
)
def test_a_changed_input_costs_the_other_rules_of_its_device_nothing(studio, before, after):
    igmp = Igmp.heard_by(studio.sender)
    with studio.relaying(FEED, OTHER) as relay:
        prioritize(relay)
        wait_until(lambda: igmp.about("239.1.1.1") == IGMP_TRIES, "the reports of the first join")
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            assert relay.reload(studio.config(FEED, OTHER.replace(before, after))).startswith("applied")
            assert relay.reload(studio.config(FEED, OTHER)).startswith("applied")
        sent, report = sending.sent["239.1.1.1:5001"], left.report()
        assert igmp.about("239.1.1.1") == IGMP_TRIES
        assert summary(relay).rules["feed"].packets == sent
    assert_all_arrived(report, sent)
