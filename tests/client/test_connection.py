"""What the command line gets to know of whoever listens at the socket, or does not."""

import os
import socket
import threading

import pytest

from mcrelay.client import connection as module
from mcrelay.client.connection import BrokenOff, Failed, NotPermitted, NotRunning, WrongProtocol, connect
from tests.support.control_harness import Desk, sections


@pytest.fixture
def listener(tmp_path):
    """A socket at which nobody answers yet; and its path."""
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield listener, path


@pytest.fixture
def server(listener):
    """Return the path of a server that says these lines, one for each request, and then hangs up."""
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


def test_where_there_is_no_socket_nothing_runs(tmp_path):
    with pytest.raises(NotRunning, match="no such socket") as error:
        connect(str(tmp_path / "control.sock"))
    assert str(tmp_path / "control.sock") in str(error.value)


def test_where_nobody_listens_nothing_runs(listener):
    sock, path = listener
    sock.close()
    with pytest.raises(NotRunning, match="nobody listens"):
        connect(path)


def test_what_is_no_socket_is_no_daemon(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/control.sock"):
        with pytest.raises(NotRunning, match=r"nobody listens|not a directory"):
            connect(str(path))


def test_who_may_not_open_the_socket_is_told_what_to_do(listener, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(module.socket.socket, "connect", refused)
    with pytest.raises(NotPermitted, match="sudo"):
        connect(listener[1])


def test_who_never_answers_is_not_waited_for_without_end(listener):
    with pytest.raises(BrokenOff, match="no answer in time"):
        connect(listener[1], patience=0.5)


def test_who_lets_nobody_in_is_not_waited_for_without_end(listener):
    sock, path = listener
    sock.listen(0)
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(path)
        with pytest.raises(BrokenOff, match="too many clients wait"):
            connect(path, patience=0.5)


def test_who_hangs_up_instead_of_answering_has_broken_off(server):
    with pytest.raises(BrokenOff, match="closed the connection"):
        connect(server(b""))


@pytest.mark.parametrize(
    "said", [b"220 smtp.example ESMTP\r\n", b"{}\n", b"[" * 100_000 + b"\n", b'{"result": 1}\n', b"\xff\n"]
)
def test_who_does_not_speak_the_protocol_is_somebody_else(server, said):
    with pytest.raises(WrongProtocol, match="not mcrelay's control socket"):
        connect(server(said))


def test_an_answer_without_an_end_is_no_answer(server, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER", 100)
    with pytest.raises(WrongProtocol, match="has no end"):
        connect(server(b"x" * 200))


@pytest.mark.parametrize("greeting", [b"7", b'{"protocol": 2}'])
def test_a_daemon_of_another_protocol_is_not_spoken_to(server, greeting):
    with pytest.raises(WrongProtocol, match="does not speak protocol 1"):
        connect(server(b'{"jsonrpc": "2.0", "id": 1, "result": ' + greeting + b"}\n"))


@pytest.mark.parametrize(
    ("code", "kind"), [(-32000, WrongProtocol), (-32002, NotPermitted), (-32603, Failed), (-1, Failed)]
)
def test_an_error_is_told_as_what_it_is(server, code, kind):
    error = b'{"jsonrpc": "2.0", "id": 2, "error": {"code": %d, "message": "so it is", "data": [7]}}\n' % code
    with connect(server(GREETING, error)) as client, pytest.raises(kind, match="so it is") as told:
        client.call("status")
    if kind is Failed:
        assert (told.value.code, told.value.data) == (code, [7])


def test_what_was_said_before_hanging_up_is_heard(listener):
    sock, path = listener

    def refuse():
        connected, _ = sock.accept()
        with connected:
            connected.sendall(
                b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32005, "message": "full"}}\n'
            )

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(Failed, match="full"):
        connect(path)
    thread.join()


def test_a_path_too_long_for_an_address_is_reached_all_the_same(tmp_path, monkeypatch):
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("control.sock")
        with pytest.raises(NotRunning, match="nobody listens"):
            connect(str(folder / "control.sock"))
    with pytest.raises(NotRunning, match="no such socket"):
        connect(str(folder / "gone/control.sock"))


def test_a_connection_is_closed_with_its_block(tmp_path):
    with Desk(tmp_path) as desk:
        desk.supervisor.change(**sections())
        with connect(desk.path) as client:
            assert os.fstat(client.fileno())
            assert client.greeting["pid"] == 4711
        assert client.fileno() == -1
