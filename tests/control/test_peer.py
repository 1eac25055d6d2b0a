"""Traces are for root, the user of the daemon, and the group of the socket."""

import pytest

from mcrelay.control.peer import Peer, may_trace


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (Peer(0, frozenset({0})), True),
        (Peer(990, frozenset({5})), True),
        (Peer(1000, frozenset({5, 110})), True),
        (Peer(1000, frozenset({5, 111})), False),
        (Peer(1000, frozenset()), False),
    ],
)
def test_traces_are_for_root_the_daemons_user_and_the_group_of_the_socket(peer, allowed):
    assert may_trace(peer, 990, 110) is allowed


def test_without_a_known_user_and_group_only_root_is_allowed():
    assert may_trace(Peer(0, frozenset()), None, None)
    assert not may_trace(Peer(1000, frozenset({5})), None, None)
