"""Datagrams are sent with sendmmsg and received with recvmmsg, over the loopback device."""

import errno
import socket
import time

import numpy as np
import pytest

from mcrelay.linux.recvmmsg import Arrivals, request_control_messages
from mcrelay.linux.sendmmsg import MessageFailure, Messages, address_of, describe, sockaddrs

SO_NO_CHECK = 11  # asm-generic/socket.h; a socket without checksums is refused segments (EINVAL)
LOCALHOST = int.from_bytes(socket.inet_aton("127.0.0.1"))


@pytest.fixture
def receiving():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request_control_messages(sock)
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def sending():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


class Outbox:
    """Messages with these payloads, all to one port of this host."""

    def __init__(self, port, payloads):
        self.messages = Messages(len(payloads))
        self._payloads = [np.frombuffer(payload, np.uint8) for payload in payloads]
        self._names = sockaddrs([(LOCALHOST, port)])
        self.messages.iovec["base"] = [address_of(payload) for payload in self._payloads]
        self.messages.iovec["length"] = [len(payload) for payload in payloads]

    def send(self, sock, counts, ttl=7, tos=0xB8, flags=0):
        counts = np.array(counts)
        name = np.full(len(counts), address_of(self._names), np.uint64)
        size = self.messages.compose(np.cumsum(counts) - counts, counts, name, ttl, tos)
        return self.messages.send(sock.fileno(), 0, size, flags)


def received(sock, capacity=64):
    """What waits at a socket: (payload, length, source port, TTL, TOS) of each datagram."""
    arrivals = Arrivals(capacity)
    count = arrivals.receive(sock.fileno())
    return [
        (
            arrivals.octets[row, : arrivals.length[row]].tobytes(),
            int(arrivals.source_port[row]),
            int(arrivals.ttl[row]),
            int(arrivals.tos[row]),
        )
        for row in range(count)
    ]


def port(sock):
    return sock.getsockname()[1]


def test_each_message_is_a_datagram_with_its_own_ttl_and_tos(sending, receiving):
    outbox = Outbox(port(receiving), [b"one", b"three", b"x" * 1400])
    ttl, tos = np.array([1, 64, 255]), np.array([0, 0xB8, 4])
    assert outbox.send(sending, [1, 1, 1], ttl, tos) == []
    source = port(sending)
    assert received(receiving) == [
        (b"one", source, 1, 0),
        (b"three", source, 64, 0xB8),
        (b"x" * 1400, source, 255, 4),
    ]


def test_a_run_arrives_as_separate_datagrams(sending, receiving):
    payloads = [bytes([letter]) * 1000 for letter in b"abcdef"] + [b"shorter"]
    assert Outbox(port(receiving), payloads).send(sending, [1, 6]) == []
    assert [payload for payload, *_ in received(receiving)] == payloads


def test_the_payloads_of_a_refused_run_are_sent_one_by_one(sending, receiving):
    sending.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    payloads = [bytes([letter]) * 1000 for letter in b"abcdef"]
    outbox = Outbox(port(receiving), payloads)
    assert outbox.send(sending, [2, 4]) == []
    assert outbox.messages.refused_segment == 1000
    assert received(receiving) == [(payload, port(sending), 7, 0xB8) for payload in payloads]


def test_the_messages_after_a_failed_one_are_sent(sending, receiving):
    outbox = Outbox(port(receiving), [b"first", bytes(70_000), b"last"])
    assert outbox.send(sending, [1, 1, 1]) == [MessageFailure(1, errno.EMSGSIZE, 1)]
    assert [payload for payload, *_ in received(receiving)] == [b"first", b"last"]


def test_each_datagram_of_a_failed_run_is_reported(sending):
    nowhere = Outbox(0, [b"one", b"two"])
    assert nowhere.send(sending, [2]) == [
        MessageFailure(0, errno.EINVAL, 1, 0),
        MessageFailure(0, errno.EINVAL, 1, 1),
    ]


def test_some_of_the_messages_can_be_sent(sending, receiving):
    outbox = Outbox(port(receiving), [b"one", b"two", b"three"])
    outbox.send(sending, [1, 1, 1])
    received(receiving)
    assert outbox.messages.send(sending.fileno(), 1, 2) == []
    assert [payload for payload, *_ in received(receiving)] == [b"two"]


def test_more_datagrams_than_fit_are_received_in_several_calls_and_none_is_no_error(sending, receiving):
    Outbox(port(receiving), [bytes([number]) for number in range(5)]).send(sending, [1] * 5)
    arrivals = Arrivals(2)
    counts = [arrivals.receive(receiving.fileno()) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


def test_the_largest_and_the_empty_datagram_arrive_whole(sending, receiving):
    Outbox(port(receiving), [b"z" * 65507]).send(sending, [1])
    sending.sendto(b"", receiving.getsockname())
    assert [payload for payload, *_ in received(receiving)] == [b"z" * 65507, b""]


def test_the_time_of_arrival_is_that_of_the_kernel(sending, receiving):
    before = time.time_ns()
    sending.sendto(b"now", receiving.getsockname())
    after = time.time_ns()
    time.sleep(0.05)  # in which the datagram waits in the socket
    arrivals = Arrivals(1)
    assert arrivals.receive(receiving.fileno()) == 1
    # The kernel starts to take times a moment after the first socket asked for them; until then the
    # time is that of receiving.
    assert before <= int(arrivals.times(1)[0]) <= max(after, time.time_ns())
    assert int(arrivals.source[0]) == LOCALHOST


def test_a_descriptor_that_is_no_socket_is_an_error():
    with pytest.raises(OSError, match="Bad file descriptor"):
        Arrivals(1).receive(-1)


def test_an_errno_is_described_by_name_and_meaning():
    assert describe(errno.EAGAIN) == "EAGAIN (Resource temporarily unavailable)"
    assert describe(4095) == "4095 (Unknown error 4095)"
