"""Limits on all clients together, and on the time that each may take: a server with short timeouts."""

import json
import select
import socket
import time

import pytest

from mcrelay.control import clients, connection
from mcrelay.control.server import Server
from mcrelay.ipc.channel import NonBlockingChannel
from mcrelay.protocol.framing import WireError
from tests.support.control_harness import RESULT, TIMEOUT_S, ServerHarness, rule, sections

HELLO = b'{"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {"protocol": 1}}\n'
STATUS = b'{"jsonrpc": "2.0", "id": 2, "method": "status"}\n'


@pytest.fixture
def harness(tmp_path, monkeypatch):
    for name in ("HELLO_TIMEOUT_S", "LINE_TIMEOUT_S", "SEND_TIMEOUT_S"):
        monkeypatch.setattr(connection, name, 0.5)
    with ServerHarness(tmp_path) as harness:
        # More than a socket holds, in one answer.
        harness.supervisor.change(**sections(**{f"rule-{number}": rule(number) for number in range(1000)}))
        yield harness


def connect_greeted(harness):
    client = harness.connect_raw()
    client.sendall(HELLO)
    assert b'"result"' in client.recv(4096)
    return client


def read_until_closed(client):
    """Return what a client receives until it is cut off."""
    text = b""
    try:
        while piece := client.recv(1 << 20):
            text += piece
    except ConnectionResetError:
        pass
    return text


@pytest.mark.parametrize("text", [b"", HELLO[:-1], HELLO + STATUS[:7]])
def test_a_client_with_an_unfinished_request_is_cut_off(harness, text):
    client = harness.connect_raw()
    client.sendall(text)
    assert read_until_closed(client).count(b"\n") == text.count(b"\n")
    assert harness.client().call("reload.verdict") == RESULT


def test_a_client_that_does_not_read_its_answer_is_cut_off(harness):
    client = connect_greeted(harness)
    client.sendall(STATUS * 100)
    hung_up = select.poll()
    hung_up.register(client, 0)  # POLLHUP comes unasked
    assert hung_up.poll(TIMEOUT_S * 1000)
    cut_off = read_until_closed(client)
    assert cut_off.startswith(b'{"jsonrpc":"2.0","id":2,"result":')
    assert b"\n" not in cut_off
    assert harness.client().call("reload.verdict") == RESULT


def test_a_client_that_reads_its_answer_slowly_gets_all_of_it(harness, monkeypatch):
    monkeypatch.setattr(connection, "SEND_TIMEOUT_S", 1)
    client = connect_greeted(harness)
    client.sendall(STATUS)
    text = b""
    while not text.endswith(b"\n"):
        text += client.recv(30_000)
        time.sleep(0.05)
    assert len(json.loads(text)["result"]["rules"]) == 1000


def test_the_slowest_clients_are_cut_off_when_too_much_is_unsent(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "MAX_UNSENT", 2 << 20)
    monkeypatch.setattr("mcrelay.status.documents.MAX_AGE_S", 0)  # each gets a document of its own
    with ServerHarness(tmp_path) as harness:
        harness.supervisor.change(**sections(**{f"rule-{number}": rule(number) for number in range(1000)}))
        slow = [connect_greeted(harness) for _ in range(6)]
        for client in slow:
            client.sendall(STATUS)
            assert client.recv(1)
        assert len(harness.client().call("status")["rules"]) == 1000
        ends = [read_until_closed_or_whole(client) for client in slow]
    assert ends[0] == "cut off"
    assert ends[-1] == "whole"


def read_until_closed_or_whole(client):
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


def test_an_answer_that_many_clients_share_is_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "MAX_UNSENT", 2 << 20)
    monkeypatch.setattr("mcrelay.status.documents.MAX_AGE_S", TIMEOUT_S)
    with ServerHarness(tmp_path) as harness:
        harness.supervisor.change(**sections(**{f"rule-{number}": rule(number) for number in range(1000)}))
        slow = [connect_greeted(harness) for _ in range(20)]
        for client in slow:
            client.sendall(STATUS)
        assert [read_until_closed_or_whole(client) for client in slow] == ["whole"] * 20


def test_a_client_that_disconnects_within_its_answer_is_forgotten(harness):
    for _ in range(20):
        client = connect_greeted(harness)
        client.sendall(STATUS * 3)
        client.recv(100)
        client.close()
    assert harness.client().call("reload.verdict") == RESULT


# The channel.


def test_an_unknown_message_of_the_supervisor_ends_the_server():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = NonBlockingChannel(ours.detach())
    with channel.socket, theirs:
        theirs.send(b'.["what"]')
        with pytest.raises(WireError, match="unknown"):
            Server(channel).run()
