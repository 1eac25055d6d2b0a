"""The limits of one connection: lengths and times."""

import json
import socket

import pytest

from mcrelay.control.connection import (
    HELLO_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    LINE_TIMEOUT_S,
    SEND_TIMEOUT_S,
    ClientGone,
    Connection,
    LineTooLong,
)
from mcrelay.protocol.jsonrpc import MAX_LINE

A_MOMENT = 0.001


@pytest.fixture
def ends():
    """A connection at time 0, and the client's end of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    theirs.settimeout(10)
    with ours, theirs:
        yield Connection(ours, 0), theirs


def greeted(ends):
    connection, client = ends
    client.send(b"hello\n")
    connection.receive(0)
    connection.next_line(0)
    connection.is_greeted = True
    return connection, client


def test_lines_are_taken_one_by_one_and_no_more_is_read_until_all_are_taken(ends):
    connection, client = ends
    assert connection.wants_to_read
    assert not connection.has_request
    client.send(b"one\ntwo\r\n\nthr")
    connection.receive(1)
    assert [connection.next_line(1) for _ in range(3)] == [b"one", b"two\r", b""]
    assert connection.wants_to_read
    client.send(b"ee\n")
    connection.receive(2)
    assert not connection.wants_to_read
    assert connection.has_request
    assert connection.next_line(2) == b"three"


@pytest.mark.parametrize("size", [1, 100, MAX_LINE])
def test_a_line_of_the_longest_length_is_taken(ends, size):
    connection, client = ends
    client.sendall(b"x" * (size - 1) + b"\nmore")
    connection.receive(0)
    assert connection.next_line(0) == b"x" * (size - 1)


def test_a_line_without_an_end_is_too_long_in_any_pieces(ends):
    connection, client = ends
    client.sendall(b"x" * MAX_LINE)
    connection.receive(0)
    client.sendall(b"x")
    with pytest.raises(LineTooLong):
        connection.receive(0)


def test_one_read_is_bounded(ends):
    connection, client = ends
    client.setblocking(False)
    sent = client.send(b"line\n" * 40_000)
    connection.receive(0)
    lines = 0
    while connection.has_request:
        connection.next_line(0)
        lines += 1
    assert 0 < 5 * lines <= MAX_LINE + 1 < sent


def test_nothing_is_read_from_a_client_that_waits_or_has_not_read_its_answer(ends):
    connection, client = ends
    client.send(b"one\ntwo\n")
    connection.receive(0)
    connection.next_line(0)
    connection.awaits_answer = True
    assert not connection.has_request
    connection.awaits_answer = False
    assert connection.has_request
    connection.send([bytes(10 << 20)], 0)
    assert connection.wants_to_write
    assert not connection.has_request
    connection.next_line(0)
    assert not connection.wants_to_read


def test_an_answer_in_pieces_arrives_whole(ends):
    connection, client = ends
    pieces = [bytes([number]) * (number * 50_000 + 1) for number in range(6)]
    connection.send(pieces, 0)
    received = bytearray()
    while len(received) < sum(map(len, pieces)):
        received += client.recv(70_000)
        connection.flush(0)
    assert received == b"".join(pieces)
    assert not connection.wants_to_write


def test_a_client_that_has_closed_is_gone_at_the_next_send(ends):
    connection, client = ends
    client.close()
    with pytest.raises(ClientGone):
        connection.send([b"answer"], 0)


def test_a_client_that_was_reset_is_gone_at_the_next_read(ends):
    connection, client = ends
    connection.send([b"never read"], 0)
    client.close()
    with pytest.raises(ClientGone):
        connection.receive(0)


def test_a_client_that_shuts_down_its_side_still_gets_its_answers(ends):
    connection, client = ends
    client.sendall(b"one\nhalf")
    client.shutdown(socket.SHUT_WR)
    connection.receive(0)
    connection.next_line(0)
    connection.awaits_answer = True
    connection.receive(0)
    assert not connection.is_finished
    connection.awaits_answer = False
    connection.send([b"answer"], 0)
    assert connection.is_finished
    assert client.recv(100) == b"answer"


def test_a_connection_to_be_closed_ends_once_its_answer_is_read(ends):
    connection, _ = ends
    assert not connection.is_finished
    connection.closes_after_answer = True
    assert connection.is_finished
    connection.send([bytes(10 << 20)], 0)
    assert not connection.is_finished


def test_a_hello_has_a_timeout_whatever_else_arrives(ends):
    connection, client = ends
    client.send(b"h")
    connection.receive(HELLO_TIMEOUT_S)
    assert connection.why_overdue(HELLO_TIMEOUT_S) == ""
    assert connection.why_overdue(HELLO_TIMEOUT_S + A_MOMENT) == "it said no hello"


def test_a_line_has_a_timeout_that_single_octets_do_not_extend(ends):
    connection, client = greeted(ends)
    for second in range(20, 30):
        client.send(b"x")
        connection.receive(second)
        assert connection.why_overdue(second) == ""
    assert connection.why_overdue(20 + LINE_TIMEOUT_S + A_MOMENT) == "it did not end its line"
    client.send(b"\n")
    connection.receive(30)
    connection.next_line(30)
    assert connection.why_overdue(30 + IDLE_TIMEOUT_S) == ""


def test_the_rest_of_a_line_has_its_own_timeout(ends):
    connection, client = greeted(ends)
    client.send(b"one\ntw")
    connection.receive(20)
    connection.next_line(25)
    assert connection.why_overdue(25 + LINE_TIMEOUT_S) == ""
    assert connection.why_overdue(25 + LINE_TIMEOUT_S + A_MOMENT) == "it did not end its line"


def test_half_a_line_has_no_timeout_while_the_answer_is_being_read(ends):
    connection, client = greeted(ends)
    client.send(b"one\ntw")
    connection.receive(20)
    connection.next_line(20)
    size = 4 << 20
    connection.send([bytes(size)], 20)
    received = 0
    for second in range(21, 100):
        received += len(client.recv(20_000))
        connection.flush(second)
        assert connection.why_overdue(second) == ""
    while received < size:
        received += len(client.recv(size))
        connection.flush(100)
    assert connection.why_overdue(100 + LINE_TIMEOUT_S) == ""
    assert connection.why_overdue(100 + LINE_TIMEOUT_S + A_MOMENT) == "it did not end its line"


def test_reading_a_part_of_the_answer_has_a_timeout(ends):
    connection, client = greeted(ends)
    connection.send([bytes(10 << 20)], 50)
    assert connection.why_overdue(50 + SEND_TIMEOUT_S) == ""
    assert connection.why_overdue(50 + SEND_TIMEOUT_S + A_MOMENT) == "it took none of its answer"
    while client.recv(1 << 20, socket.MSG_DONTWAIT | socket.MSG_PEEK) and connection.last_progress == 50:
        client.recv(1 << 20)
        connection.flush(60)
    assert connection.last_progress == 60
    assert connection.why_overdue(60 + SEND_TIMEOUT_S) == ""


def test_an_idle_client_is_closed_after_a_long_timeout(ends):
    connection, client = greeted(ends)
    assert connection.why_overdue(IDLE_TIMEOUT_S) == ""
    assert connection.why_overdue(IDLE_TIMEOUT_S + A_MOMENT) == "it asked for nothing"
    client.send(json.dumps({}).encode() + b"\n")
    connection.receive(IDLE_TIMEOUT_S)
    connection.next_line(IDLE_TIMEOUT_S)
    assert connection.why_overdue(2 * IDLE_TIMEOUT_S) == ""
