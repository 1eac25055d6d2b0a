"""The client of the control socket, with servers that misbehave and with none."""

import os
import socket
import threading

import pytest

from mcrelay.client import connection as module
from mcrelay.client.connection import (
    AccessDenied,
    NoAnswer,
    NotRunning,
    RequestFailed,
    WrongProtocol,
    connect,
)
from tests.support.control_harness import ServerHarness, sections


@pytest.fixture
def listener(tmp_path):
    """A listening socket without a server, and its path."""
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield listener, path


@pytest.fixture
def server(listener):
    """Return the path of a server that answers each request with the next line, and then closes."""
    sock, path = listener
    threads = []

    def serving(*lines):
        def serve():
            connected, _ = sock.accept()
            with connected:
                for line in lines:
                    connected.recv(4096)
                    connected.sendall(line)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return path

    yield serving
    for thread in threads:
        thread.join()


GREETING = b'{"jsonrpc": "2.0", "id": 1, "result": {"protocol": 1}}\n'


def test_a_missing_socket_means_not_running(tmp_path):
    with pytest.raises(NotRunning, match="no such socket") as error:
        connect(str(tmp_path / "control.sock"))
    assert str(tmp_path / "control.sock") in str(error.value)


def test_a_socket_without_a_listener_means_not_running(listener):
    sock, path = listener
    sock.close()
    with pytest.raises(NotRunning, match="no process listens"):
        connect(path)


def test_a_path_that_is_not_a_socket_means_not_running(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/control.sock"):
        with pytest.raises(NotRunning, match=r"no process listens|not a directory"):
            connect(str(path))


def test_missing_permission_is_reported_with_what_to_do(listener, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(module.socket.socket, "connect", refused)
    with pytest.raises(AccessDenied, match="sudo"):
        connect(listener[1])


def test_a_server_that_never_answers_times_out(listener):
    with pytest.raises(NoAnswer, match="no answer in time"):
        connect(listener[1], timeout_s=0.5)


def test_a_server_with_a_full_queue_times_out(listener):
    sock, path = listener
    sock.listen(0)
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        with pytest.raises(NoAnswer, match="too many clients are waiting"):
            connect(path, timeout_s=0.5)


def test_a_server_that_closes_the_connection_gives_no_answer(server):
    with pytest.raises(NoAnswer, match="closed the connection"):
        connect(server(b""))


@pytest.mark.parametrize(
    "said", [b"220 smtp.example ESMTP\r\n", b"{}\n", b"[" * 100_000 + b"\n", b'{"result": 1}\n', b"\xff\n"]
)
def test_an_answer_in_another_protocol_is_refused(server, said):
    with pytest.raises(WrongProtocol, match="not mcrelay's control socket"):
        connect(server(said))


def test_an_endless_answer_is_refused(server, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(WrongProtocol, match="is too long"):
        connect(server(b"x" * 200))


@pytest.mark.parametrize("greeting", [b"7", b'{"protocol": 2}'])
def test_a_daemon_of_another_protocol_version_is_refused(server, greeting):
    with pytest.raises(WrongProtocol, match="does not speak protocol 1"):
        connect(server(b'{"jsonrpc": "2.0", "id": 1, "result": ' + greeting + b"}\n"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [(-32000, WrongProtocol), (-32002, AccessDenied), (-32603, RequestFailed), (-1, RequestFailed)],
)
def test_an_error_is_raised_as_its_exception(server, code, kind):
    error = b'{"jsonrpc": "2.0", "id": 2, "error": {"code": %d, "message": "so it is", "data": [7]}}\n' % code
    with connect(server(GREETING, error)) as client, pytest.raises(kind, match="so it is") as caught:
        client.call("status")
    if kind is RequestFailed:
        assert (caught.value.code, caught.value.data) == (code, [7])


def test_an_answer_sent_before_closing_is_read(listener):
    sock, path = listener

    def refuse():
        connected, _ = sock.accept()
        with connected:
            connected.sendall(
                b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32005, "message": "full"}}\n'
            )

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(RequestFailed, match="full"):
        connect(path)
    thread.join()


def test_a_path_too_long_for_a_socket_address_is_connected_to(tmp_path, monkeypatch):
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("control.sock")
        with pytest.raises(NotRunning, match="no process listens"):
            connect(str(folder / "control.sock"))
    with pytest.raises(NotRunning, match="no such socket"):
        connect(str(folder / "gone/control.sock"))


def test_a_connection_is_closed_with_its_block(tmp_path):
    with ServerHarness(tmp_path) as harness:
        harness.supervisor.change(**sections())
        with connect(harness.path) as client:
            assert os.fstat(client.fileno())
            assert client.greeting["pid"] == 4711
        assert client.fileno() == -1
