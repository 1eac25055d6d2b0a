"""A ring keeps the filter that the supervisor has locked, and gets its own filter otherwise."""

import socket

import pytest

from mcrelay.linux import socket_filters
from mcrelay.linux.constants import PACKET_IGNORE_OUTGOING, SO_LOCK_FILTER, SOL_PACKET
from mcrelay.worker.ring import Ring


class FakePacketSocket:
    """A UDP socket that also takes the options of packet sockets."""

    def __init__(self, real):
        self.real, self.options = real, []

    def setsockopt(self, level, option, value):
        if level == SOL_PACKET:
            self.options.append((option, value))
        else:
            self.real.setsockopt(level, option, value)


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def ring_of(receiver):
    """Return a ring without memory, of a socket with filters of the kernel."""
    ring = Ring.__new__(Ring)
    ring.socket = FakePacketSocket(receiver)
    return ring


def gets_packets(receiver):
    """Return whether the socket gets a packet; over loopback, it is there when it has been sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", receiver.getsockname())
    try:
        return receiver.recv(10, socket.MSG_DONTWAIT) == b"x"
    except BlockingIOError:
        return False


def test_the_filter_of_a_worker_replaces_the_one_before(receiver):
    ring = ring_of(receiver)
    ring.attach_filter(socket_filters.NOTHING)
    assert not gets_packets(receiver)
    ring.attach_filter(socket_filters.EVERYTHING)
    assert gets_packets(receiver)
    assert ring.socket.options == [(PACKET_IGNORE_OUTGOING, True)] * 2


def test_a_locked_filter_stays_and_outgoing_packets_are_switched_all_the_same(receiver):
    socket_filters.attach(receiver, socket_filters.NOTHING)
    receiver.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    ring = ring_of(receiver)
    ring.attach_filter(socket_filters.EVERYTHING, takes_outgoing=True)
    assert not gets_packets(receiver)
    assert ring.socket.options == [(PACKET_IGNORE_OUTGOING, False)]
