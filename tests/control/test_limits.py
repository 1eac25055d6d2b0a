"""Limits on all clients together, and on how long each may take: a server with little patience."""

import json
import select
import socket
import time

import pytest

from mcrelay.control import clients, connection
from mcrelay.control.server import Server
from mcrelay.ipc.channel import NonBlockingChannel
from mcrelay.protocol.framing import WireError
from tests.support.control_harness import PATIENCE, RESULT, Desk, rule, sections

HELLO = b'{"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {"protocol": 1}}\n'
STATUS = b'{"jsonrpc": "2.0", "id": 2, "method": "status"}\n'


@pytest.fixture
def desk(tmp_path, monkeypatch):
    for name in ("HELLO_TIMEOUT_S", "LINE_TIMEOUT_S", "SEND_TIMEOUT_S"):
        monkeypatch.setattr(connection, name, 0.5)
    with Desk(tmp_path) as desk:
        # More than a socket holds, in one answer.
        desk.supervisor.change(**sections(**{f"rule-{number}": rule(number) for number in range(1000)}))
        yield desk


def greeted(desk):
    client = desk.raw()
    client.sendall(HELLO)
    assert b'"result"' in client.recv(4096)
    return client


def until_closed(client):
    """Return what a client still gets before it is cut off."""
    text = b""
    try:
        while piece := client.recv(1 << 20):
            text += piece
    except ConnectionResetError:
        pass
    return text


@pytest.mark.parametrize("said", [b"", HELLO[:-1], HELLO + STATUS[:7]])
def test_who_does_not_come_to_the_point_is_cut_off(desk, said):
    client = desk.raw()
    client.sendall(said)
    assert until_closed(client).count(b"\n") == said.count(b"\n")
    assert desk.client().call("reload.verdict") == RESULT


def test_who_does_not_take_its_answer_is_cut_off(desk):
    client = greeted(desk)
    client.sendall(STATUS * 100)
    hung_up = select.poll()
    hung_up.register(client, 0)  # POLLHUP comes unasked
    assert hung_up.poll(PATIENCE * 1000)
    cut_off = until_closed(client)
    assert cut_off.startswith(b'{"jsonrpc":"2.0","id":2,"result":')
    assert b"\n" not in cut_off
    assert desk.client().call("reload.verdict") == RESULT


def test_who_takes_its_answer_slowly_gets_all_of_it(desk, monkeypatch):
    monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 1)
    client = greeted(desk)
    client.sendall(STATUS)
    text = b""
    while not text.endswith(b"\n"):
        text += client.recv(30_000)
        time.sleep(0.05)
    assert len(json.loads(text)["result"]["rules"]) == 1000


def test_when_too_much_waits_in_all_the_slowest_are_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "MAX_UNSENT", 2 << 20)
    monkeypatch.setattr("mcrelay.status.documents.MAX_AGE_S", 0)  # each gets a document of its own
    with Desk(tmp_path) as desk:
        desk.supervisor.change(**sections(**{f"rule-{number}": rule(number) for number in range(1000)}))
        slow = [greeted(desk) for _ in range(6)]
        for client in slow:
            client.sendall(STATUS)
            assert client.recv(1)
        assert len(desk.client().call("status")["rules"]) == 1000
        ends = [until_closed_or_whole(client) for client in slow]
    assert ends[0] == "cut off"
    assert ends[-1] == "whole"


def until_closed_or_whole(client):
    text = b""
    try:
        while not text.endswith(b"\n"):
            piece = client.recv(1 << 20)
            if not piece:
                return "cut off"
            text += piece
    except ConnectionResetError:
        return "cut off"
    return "whole"


def test_what_serves_many_is_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "MAX_UNSENT", 2 << 20)
    monkeypatch.setattr("mcrelay.status.documents.MAX_AGE_S", PATIENCE)
    with Desk(tmp_path) as desk:
        desk.supervisor.change(**sections(**{f"rule-{number}": rule(number) for number in range(1000)}))
        slow = [greeted(desk) for _ in range(20)]
        for client in slow:
            client.sendall(STATUS)
        assert [until_closed_or_whole(client) for client in slow] == ["whole"] * 20


def test_a_client_that_goes_in_the_middle_of_its_answer_is_forgotten(desk):
    for _ in range(20):
        client = greeted(desk)
        client.sendall(STATUS * 3)
        client.recv(100)
        client.close()
    assert desk.client().call("reload.verdict") == RESULT


# The channel.


def test_an_unknown_message_of_the_supervisor_ends_the_server():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = NonBlockingChannel(ours.detach())
    with channel.socket, theirs:
        theirs.send(b'.["what"]')
        with pytest.raises(WireError, match="unknown"):
            Server(channel).run()
