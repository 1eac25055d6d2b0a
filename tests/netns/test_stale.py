"""Packets that waited longer than `max_age` for a worker are not sent, and counted as `stale`."""

import os
import signal
import socket
import struct
import time

import pytest

from mcrelay.lab.command import wait_until
from mcrelay.linux.constants import SO_RCVBUFFORCE, SO_TIMESTAMPNS
from tests.netns.support.frames import GROUP, PORT, Frame
from tests.netns.support.relay_observer import link_of, summary

pytestmark = pytest.mark.planes("userspace")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
LISTED = FEED.replace("port: 5001}", "port: 5001, sources: [192.168.168.55]}")  # for the array path only
STAMP = struct.Struct("=q")
INTERVAL_S, SLACK_S = 0.005, 0.3
OLD = 50  # packets


def default_age(config):
    """Return a configuration without the greatest age that other tests have."""
    return config.replace("max_age: 1min\n", "")


class AgeListener:
    """A receiver in the left network that knows the age of each packet at its arrival."""

    def __init__(self, host):
        with host.enter_namespace():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._socket.bind(("239.2.2.2", 6001))
            request = struct.pack(
                "=4s4si", socket.inet_aton("239.2.2.2"), bytes(4), socket.if_nametoindex("eth0")
            )
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        self._socket.setblocking(False)

    def ages(self):
        """Return the ages of the packets that have arrived, in seconds."""
        found = []
        while True:
            try:
                payload, [(_, _, stamp)], _, _ = self._socket.recvmsg(2048, 128)
            except BlockingIOError:
                return found
            seconds, nanoseconds = struct.unpack("=qq", stamp)
            found.append((seconds * 10**9 + nanoseconds - STAMP.unpack(payload)[0]) / 1e9)


@pytest.fixture
def wire(studio):
    with studio.sender.enter_namespace(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("eth0", 0))
        yield wire


def send(wire, count):
    """Send packets with their times."""
    for _ in range(count):
        wire.send(bytes(Frame(payload=STAMP.pack(time.time_ns()), destination=GROUP, port=PORT)))
    return count


def send_for(wire, seconds):
    """Send a packet every INTERVAL_S, and return the number of packets."""
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        count += send(wire, 1)
        time.sleep(INTERVAL_S)
    return count


def send_while_the_worker_stands(relay, wire):
    """Send OLD packets, and then others, to a worker that is stopped until the first ones are too old."""
    (worker,) = relay.workers()
    before = send_for(wire, 0.2)
    os.kill(worker, signal.SIGSTOP)
    try:
        return before + send(wire, OLD) + send_for(wire, 1.3)
    finally:
        os.kill(worker, signal.SIGCONT)


@pytest.mark.parametrize("rule", [FEED, LISTED], ids=["scalar and array path", "array path"])
def test_packets_older_than_a_second_are_counted_as_stale_and_never_sent(studio, wire, rule):
    left = AgeListener(studio.left)
    with studio.daemon(default_age(studio.config(rule))) as relay:
        sent = send_while_the_worker_stands(relay, wire) + send_for(wire, 0.2)
        wait_until(lambda: link_of(relay).packets == sent, "all packets counted")
        counted = summary(relay)
    ages = left.ages()
    assert max(ages) < 1 + SLACK_S
    assert counted.rules["feed"].packets == len(ages)
    assert counted.rules["feed"].drops == {"stale": sent - len(ages)}
    assert sent - len(ages) >= OLD


def test_a_reload_changes_the_greatest_age_of_running_workers_and_touches_no_rule(studio, wire):
    left = AgeListener(studio.left)
    with studio.daemon(default_age(studio.config(FEED))) as relay:
        (worker,) = relay.workers()
        relay.reload(studio.config(FEED))
        assert "generation 2, rules: 0 added, 0 changed, 0 removed, 1 kept" in relay.log()
        sent = send_while_the_worker_stands(relay, wire)
        wait_until(lambda: link_of(relay).packets == sent, "all packets counted")
        assert relay.workers() == [worker]
        counted = summary(relay)
    assert (counted.rules["feed"].packets, counted.rules["feed"].drops) == (sent, {})
    assert len(left.ages()) == sent
