"""Daemons tell each other what they relay at each beat, and a bad or silent one harms nobody."""

import os
import socket

import pytest

from mcrelay.control import other_daemons as module
from mcrelay.control.other_daemons import OtherDaemons
from mcrelay.protocol.relayed_flows import OtherDaemon, RelayedFlow, decode_daemon, encode_daemon

FEED = RelayedFlow("feed", 2, "239.1.1.1", 5001, frozenset(), frozenset({(3, "239.2.2.2", 6001)}))
ME = {os.geteuid()}


class Harness:
    """The connections of a daemon that relays FEED, and the rules that others relay, too."""

    def __init__(self):
        self.own = OtherDaemon(os.getpid(), "own.yaml", (FEED,))
        self.duplicates = {}
        self.others = OtherDaemons(lambda: self.own, self._changed)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind("")
        self.listener.listen()
        self.listener.setblocking(False)

    def _changed(self, duplicates):
        self.duplicates = duplicates

    def connect(self):
        """Connect like another daemon, and return its end."""
        theirs = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs.settimeout(20)
        theirs.connect(self.listener.getsockname())
        return theirs


@pytest.fixture
def harness():
    made = Harness()
    made.others.connect(made.listener, [])
    return made


def test_without_a_socket_nothing_happens():
    Harness().others.exchange(ME)


def test_another_daemon_is_told_and_heard_until_it_ends(harness):
    theirs = harness.connect()
    harness.others.exchange(ME)
    assert decode_daemon(theirs.recv(10_000)) == harness.own
    theirs.send(encode_daemon(OtherDaemon(1, "b.yaml", (FEED,))))
    harness.others.exchange(ME)
    (duplicate,) = harness.duplicates["feed"]
    assert (duplicate.pid, duplicate.config) == (os.getpid(), "b.yaml"), "the kernel knows the process"
    theirs.close()
    harness.others.exchange(ME)
    assert harness.duplicates == {}


def test_a_change_is_told_once(harness):
    theirs = harness.connect()
    for _ in range(3):
        harness.others.exchange(ME)
    harness.own = OtherDaemon(1, "own.yaml", ())
    harness.others.snapshot_changed()
    harness.others.exchange(ME)
    lines = theirs.recv(10_000).splitlines()
    assert [len(decode_daemon(line).flows) for line in lines] == [1, 0]


@pytest.mark.parametrize("text", [b"GET / HTTP/1.0\n", b"x" * 200])
def test_one_that_says_something_else_is_hung_up_on(harness, monkeypatch, text):
    monkeypatch.setattr(module, "MAX_LINE", 100)
    theirs = harness.connect()
    theirs.send(text)
    harness.others.exchange(ME)
    theirs.recv(10_000)
    assert theirs.recv(10_000) == b""


def test_a_stranger_is_hung_up_on(harness):
    theirs = harness.connect()
    harness.others.exchange({os.geteuid() + 1})
    assert theirs.recv(10_000) == b""


def test_one_that_does_not_read_gets_the_rest_later(harness):
    harness.own = OtherDaemon(1, "x" * 3_000_000, (FEED,))
    theirs = harness.connect()
    received = b""
    while not received.endswith(b"\n"):
        harness.others.exchange(ME)
        received += theirs.recv(1 << 20)
    assert decode_daemon(received) == harness.own
