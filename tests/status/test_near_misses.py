"""Hints say what was probably meant for a rule, and only while the rule receives nothing."""

import pytest

from mcrelay.model.counters import RULES
from mcrelay.model.near_misses import NearMiss
from mcrelay.status.near_misses import SILENCE, Place, Target, hint, near_misses

TARGET = Target("eth0", "239.1.1.1", 5001)
PLACES = {3: Place("plant", "eth1")}
TIME = 1_700_000_000 * 10**9


def counts(*misses, last=0):
    """Return the row of a rule with near misses, each a kind, a detail and a number of packets."""
    row = [0] * len(RULES.columns)
    row[RULES.column("last_time")] = last
    for miss, detail, packets in misses:
        for column, value in zip(miss.columns, (TIME, detail, packets), strict=True):
            row[RULES.column(column)] = value
    return row


HINTS = [
    ((NearMiss.TAGGED, 100, 3412), {"vlan": 100},
     "3,412 frames to 239.1.1.1 had VLAN tag 100: name the VLAN's device, such as eth0.100, in `interfaces`"),
    ((NearMiss.TAGGED, 7, 1), {"vlan": 7},
     "1 frame to 239.1.1.1 had VLAN tag 7: name the VLAN's device, such as eth0.7, in `interfaces`"),
    ((NearMiss.OTHER_DEVICE, 3, 1200), {"device": "eth1", "interface": "plant"},
     "nothing on eth0, but 1,200 packets came in on eth1 (interface plant):"
     " correct `interface` of the input, or the cabling"),
    ((NearMiss.OTHER_DEVICE, 9, 1), {"device": None, "interface": None},
     "nothing on eth0, but 1 packet came in on another device:"
     " correct `interface` of the input, or the cabling"),
    ((NearMiss.OTHER_PORT, 5002, 30), {"port": 5002},
     "30 packets came in for other ports of 239.1.1.1, the last for port 5002:"
     " correct `port` of the input, which is 5001, if they are meant"),
]  # fmt: skip


@pytest.mark.parametrize(("miss", "named", "text"), HINTS)
def test_a_near_miss_is_shown_with_its_detail(miss, named, text):
    row = counts(miss)
    assert near_misses(row, PLACES) == {miss[0]: {"packets": miss[2], "time": TIME / 1e9, **named}}
    assert hint(TARGET, row, PLACES) == text


def test_all_kinds_are_shown():
    row = counts((NearMiss.TAGGED, 100, 1), (NearMiss.OTHER_PORT, 5002, 2))
    assert list(near_misses(row, PLACES)) == ["tagged", "other_port"]
    assert hint(TARGET, row, PLACES).count("; ") == 1


def test_without_near_misses_there_is_no_hint():
    assert near_misses(counts(), PLACES) == {}
    assert hint(TARGET, counts(), PLACES) == ""


@pytest.mark.parametrize(("silence", "is_shown"), [(SILENCE + 1, True), (SILENCE, False), (-SILENCE, False)])
def test_a_rule_that_receives_packets_has_no_hint(silence, is_shown):
    row = counts((NearMiss.OTHER_PORT, 5002, 30), last=TIME - silence)
    assert bool(hint(TARGET, row, PLACES)) is is_shown
    assert near_misses(row, PLACES)
