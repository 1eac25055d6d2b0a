"""Daemons tell each other what they relay, and find what both relay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.protocol.framing import WireError
from mcrelay.protocol.relayed_flows import (
    Duplicate,
    OtherDaemon,
    RelayedFlow,
    decode_daemon,
    encode_daemon,
    find_duplicates,
)

OUTPUT = (3, "239.2.2.2", 6001)
FEED = RelayedFlow("feed", 2, "239.1.1.1", 5001, frozenset(), frozenset({OUTPUT}))
ONE, TWO = frozenset({"10.0.0.1"}), frozenset({"10.0.0.2"})

texts = st.text(max_size=5)
ends = st.tuples(st.integers(), texts, st.integers())
flows = st.builds(
    RelayedFlow, texts, st.integers(), texts, st.integers(), st.frozensets(texts), st.frozensets(ends)
)
daemons = st.builds(OtherDaemon, st.integers(), texts, st.lists(flows).map(tuple))


def flow(ifindex=2, destination="239.1.1.1", port=5001, sources=frozenset(), outputs=(OUTPUT,)):
    return RelayedFlow("theirs", ifindex, destination, port, sources, frozenset(outputs))


@given(daemons)
def test_a_daemon_is_one_line_that_is_read_as_it_was_written(daemon):
    line = encode_daemon(daemon)
    assert line.count(b"\n") == 1
    assert decode_daemon(line) == daemon


FIELDS = {"mcrelay": 1, "pid": 1, "config": "x", "flows": []}
GOOD = ["feed", 2, "239.1.1.1", 5001, [], [[3, "239.2.2.2", 6001]]]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET / HTTP/1.0",
        b"[" * 100_000,
        b"\xff",
        json.dumps({**FIELDS, "mcrelay": 2}).encode(),
        json.dumps({**FIELDS, "pid": "1"}).encode(),
        json.dumps({**FIELDS, "flows": [GOOD[:5]]}).encode(),
        json.dumps({**FIELDS, "flows": [[*GOOD[:5], [[3, "239.2.2.2"]]]]}).encode(),
        json.dumps({**FIELDS, "flows": [{}]}).encode(),
    ],
)
def test_what_is_no_daemon_is_refused(line):
    with pytest.raises(WireError):
        decode_daemon(line)


@pytest.mark.parametrize(
    ("theirs", "is_sent_twice"),
    [
        (flow(), True),
        (flow(sources=ONE), True),
        (flow(outputs=[OUTPUT, (4, "239.2.2.2", 6001)]), True),
        (flow(outputs=[(4, "239.2.2.2", 6001)]), False),
        (flow(outputs=[]), False),
    ],
)
def test_a_flow_that_another_daemon_relays_is_found(theirs, is_sent_twice):
    found = find_duplicates([FEED], [OtherDaemon(7, "/etc/other.yaml", (theirs,))])
    assert found == {"feed": (Duplicate(7, "/etc/other.yaml", "theirs", is_sent_twice),)}


@pytest.mark.parametrize(
    "theirs", [flow(ifindex=9), flow(destination="239.1.1.2"), flow(port=5002), flow(sources=TWO)]
)
def test_a_flow_that_differs_is_not_found(theirs):
    own = RelayedFlow("feed", 2, "239.1.1.1", 5001, ONE, frozenset({OUTPUT}))
    assert find_duplicates([own], [OtherDaemon(7, "x", (theirs,))]) == {}


def test_the_reason_names_the_other_daemon():
    twice, once = (Duplicate(7, "/etc/other.yaml", "theirs", is_twice) for is_twice in (True, False))
    also = "also relayed by process 7 (/etc/other.yaml, rule theirs): "
    assert twice.reason == also + "every packet is sent twice"
    assert once.reason == also + "to other outputs"
