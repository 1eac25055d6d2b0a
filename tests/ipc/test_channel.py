"""The three ends of a channel: what they send, what they queue, and what they refuse."""

import errno
import gc
import os
import select
import socket

import pytest

from mcrelay.ipc import channel
from mcrelay.ipc.channel import (
    MAX_PACKETS_PER_TURN,
    BlockingChannel,
    ChannelClosed,
    ChildChannel,
    NonBlockingChannel,
)
from mcrelay.protocol.control import decode_to_supervisor
from mcrelay.protocol.framing import (
    MAX_ANSWER,
    MAX_BATCH,
    MAX_DESCRIPTORS,
    MAX_PACKET,
    MAX_PIECE,
    Assembler,
    Hello,
    WireError,
)
from mcrelay.protocol.worker import Acknowledged, Refused, decode_answer

TIMEOUT_S = 20  # seconds: far more than anything takes
LONG = b"x" * (20 * MAX_PIECE)  # more than a socket holds


@pytest.fixture
def ends():
    """Both ends of a socket; the second one is used as it is."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(TIMEOUT_S)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def child(ends):
    """The supervisor's end, and the child's socket."""
    ours, theirs = ends
    return ChildChannel(ours, decode_answer), theirs


def read_message(sock, flush=None):
    """Read a whole message from a socket, while the other end may `flush`; return it with its descriptors."""
    assembler = Assembler(MAX_BATCH)
    while True:
        data, descriptors, _, _ = socket.recv_fds(sock, MAX_PACKET, MAX_DESCRIPTORS)
        if message := assembler.feed(data, descriptors):
            return message
        if flush:
            flush()


# The supervisor's end.


@pytest.mark.parametrize(
    "packet",
    [
        b"?",
        b".",
        b".no JSON",
        b".[]",
        b'.["hello"]',
        b'.["hello",true]',
        b'.["hello","1"]',
        b'.["acknowledged",1,2]',
        b'.["refused",1,0]',
        b'.["reload"]',
        b".{}",
        b"." + b"[" * 4000,
        b"." + b" " * MAX_ANSWER,
        b"\xff\xfe",
    ],
)
def test_a_malformed_message_from_a_child_is_an_error_of_one_line(child, packet):
    ours, theirs = child
    theirs.send(packet)
    with pytest.raises(WireError) as error:
        ours.receive()
    assert "\n" not in str(error.value)


def test_a_message_without_end_from_a_child_is_an_error(child):
    ours, theirs = child
    for _ in range(MAX_ANSWER // 1000 + 1):
        theirs.send(b"+" + bytes(1000))
    with pytest.raises(WireError, match="longer than 4096 bytes"):
        ours.receive()


def test_several_messages_arrive_at_once_and_in_pieces(child):
    ours, theirs = child
    for packet in (b'.["hello",1]', b'+["acknow', b'.ledged",7]', b'.["refused",8,2,"no"]'):
        theirs.send(packet)
    assert ours.receive() == [Hello(1), Acknowledged(7), Refused(8, 2, "no")]
    assert ours.receive() == []


def test_descriptors_that_a_child_sends_are_not_taken(child):
    ours, theirs = child
    socket.send_fds(theirs, [b'.["hello",1]'], [theirs.fileno()] * 10)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    assert ours.receive() == [Hello(1)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_that_sends_without_end_is_read_in_turns(child):
    ours, theirs = child
    for _ in range(MAX_PACKETS_PER_TURN + 1):
        theirs.send(b'.["hello",1]')
    assert len(ours.receive()) == MAX_PACKETS_PER_TURN
    assert len(ours.receive()) == 1


def test_the_end_of_a_child_is_a_closed_channel(child):
    ours, theirs = child
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive()


def test_a_child_that_ends_with_unread_packets_is_a_closed_channel(child):
    # Unread packets turn the end of a socket into a reset.
    ours, theirs = child
    ours.send(b"unread")
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive()


def test_a_message_larger_than_the_socket_waits_until_the_child_reads(child):
    ours, theirs = child
    assert ours.unsent_bytes == 0
    ours.send(LONG)
    assert ours.has_unsent
    assert ours.unsent_bytes > 10 * MAX_PIECE
    assert read_message(theirs, ours.flush) == (LONG, [])
    assert not ours.has_unsent
    assert ours.unsent_bytes == 0


def test_more_descriptors_than_a_packet_takes_arrive_all_and_in_order(child):
    ours, theirs = child
    opened = [os.memfd_create("one of many") for _ in range(2 * MAX_DESCRIPTORS + 7)]
    ours.send(b"", opened)
    _, received = read_message(theirs)
    assert [os.fstat(one).st_ino for one in received] == [os.fstat(one).st_ino for one in opened]
    for descriptor in (*opened, *received):
        os.close(descriptor)


def test_a_message_to_a_child_that_is_gone_is_dropped(child):
    ours, theirs = child
    theirs.close()
    ours.send(LONG)
    assert not ours.has_unsent
    assert ours.unsent_bytes == 0


def test_closing_drops_what_waits(child):
    ours, _ = child
    ours.send(LONG)
    ours.close()
    assert not ours.has_unsent
    assert ours.unsent_bytes == 0
    assert ours.fileno() == -1


def test_a_child_reads_the_end_of_a_channel_that_was_shut_down(child):
    ours, theirs = child
    ours.shut_down()
    assert theirs.recv(MAX_PACKET) == b""


@pytest.mark.parametrize("shortage", [errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS])
def test_a_message_that_the_kernel_has_no_memory_for_is_sent_later(child, monkeypatch, shortage):
    ours, theirs = child
    with monkeypatch.context() as full:
        full.setattr(channel.socket, "send_fds", harness_with_broken(shortage))
        ours.send(b"later")
        assert ours.is_short_of_memory
        assert ours.has_unsent
    ours.flush()
    assert not ours.is_short_of_memory
    assert read_message(theirs) == (b"later", [])


def test_an_error_that_no_later_try_mends_is_raised(child, monkeypatch):
    ours, _ = child
    monkeypatch.setattr(channel.socket, "send_fds", harness_with_broken(errno.EBADF))
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        ours.send(b"never")


def harness_with_broken(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


# The control process's end.


@pytest.fixture
def control(ends):
    """The control process's end, and the supervisor's socket."""
    ours, theirs = ends
    made = NonBlockingChannel(ours.detach())
    with made.socket:
        yield made, theirs


def test_requests_that_the_supervisor_does_not_read_at_once_arrive_later_and_in_order(control):
    ours, theirs = control
    number = 0
    while not ours.has_unsent:
        number += 1
        ours.send(b'["mark",%d]' % number)
    ours.send(b'["mark",%d]' % (number + 1))
    marks = []
    while len(marks) < number + 1:
        marks.append(decode_to_supervisor(theirs.recv(4096)[1:]).mark)
        ours.flush()
    assert marks == list(range(1, number + 2))
    assert not ours.has_unsent


def test_messages_of_the_supervisor_come_with_their_descriptors(control):
    ours, theirs = control
    assert list(ours.receive()) == []
    theirs.send(b"+one, ")
    socket.send_fds(theirs, [b".whole"], [theirs.fileno()])
    theirs.send(b".two")
    [(first, [descriptor]), second] = ours.receive()
    os.close(descriptor)
    assert (first, second) == (b"one, whole", (b"two", []))


def test_a_supervisor_that_is_gone_closes_the_channel_of_the_control_process(control):
    ours, theirs = control
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.send(b"request")
    with pytest.raises(ChannelClosed):
        list(ours.receive())


def test_a_supervisor_that_ended_with_an_unread_request_closes_the_channel_of_the_control_process(control):
    ours, theirs = control
    ours.send(b"unread")
    theirs.close()
    with pytest.raises(ChannelClosed):
        list(ours.receive())


# A worker's end.


@pytest.fixture
def worker(ends):
    """A worker's end, and the supervisor's socket."""
    ours, theirs = ends
    return BlockingChannel(ours.detach()), theirs


def test_a_worker_waits_for_a_whole_message_with_its_descriptors(worker):
    ours, theirs = worker
    socket.send_fds(theirs, [b"+one, "], [theirs.fileno()])
    theirs.send(b".whole")
    text, [descriptor] = ours.receive()
    os.close(descriptor)
    assert text == b"one, whole"


def test_a_worker_sends_and_can_be_polled(worker):
    ours, theirs = worker
    ours.send(b"answer")
    assert theirs.recv(MAX_PACKET) == b".answer"
    poll = select.poll()
    poll.register(ours.fileno(), select.POLLIN)
    assert poll.poll(0) == []
    theirs.send(b".batch")
    assert poll.poll(0)


@pytest.mark.parametrize("is_read", [True, False])
def test_a_supervisor_that_is_gone_closes_the_channel_of_a_worker(worker, is_read):
    ours, theirs = worker
    ours.send(b"answer")
    if is_read:
        theirs.recv(MAX_PACKET)
    theirs.close()  # with an unread answer it is a reset
    with pytest.raises(ChannelClosed):
        ours.send(b"answer")
    with pytest.raises(ChannelClosed):
        ours.receive()
