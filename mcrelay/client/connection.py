"""The client of the control socket, which the commands use to query a running daemon."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
from types import TracebackType
from typing import Any

from mcrelay.model.os_errors import format_os_error
from mcrelay.protocol.jsonrpc import CLIENT_PROTOCOL, Code, Json, encode_request

ANSWER_TIMEOUT_S = 10.0  # without a byte from the daemon
MIN_TIMEOUT_S = 0.001  # 0 would disable the timeout
MAX_ANSWER_BYTES = 256 << 20  # 10,000 rules with their outputs take about 15 million
MAX_PATH_BYTES = 107  # of a socket (sun_path of linux/un.h, less its final zero)
RECEIVE_BYTES = 256 << 10


class NotRunning(Exception):
    """No daemon listens on the socket."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"no daemon at {path}: {why}")
        self.path, self.why = path, why


class AccessDenied(Exception):
    """The user is not permitted to open the socket, to signal the daemon, or to call the method."""


class WrongProtocol(Exception):
    """Another program listens on the socket, or a daemon of another version."""


class RequestFailed(Exception):
    """The daemon answered with an error; `data` is its machine-readable part."""

    def __init__(self, code: int, message: str, data: Json) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class NoAnswer(Exception):
    """The daemon closed the connection or did not answer in time; a new connection may succeed."""


Unreachable = NotRunning | AccessDenied | WrongProtocol | NoAnswer
UNREACHABLE = (NotRunning, AccessDenied, WrongProtocol, NoAnswer)  # the same, for `except`


class Client:
    """A connection to a daemon that has answered `hello`. Makes one call at a time."""

    def __init__(self, path: str, connection: socket.socket) -> None:
        self.path = path
        self.greeting: dict[str, Any] = {}
        """The daemon's answer to `hello`: protocol, version, pid, config, generation and more."""
        self._socket = connection
        self._calls = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def call(self, method: str, **params: Json) -> Json:
        """Call a method and return its result.

        Raises RequestFailed, AccessDenied, WrongProtocol or NoAnswer.
        """
        self._calls += 1
        try:
            self._send(encode_request(self._calls, method, params))
            line = self._line()
        except BlockingIOError:  # SO_RCVTIMEO, SO_SNDTIMEO
            raise NoAnswer(f"no answer in time at {self.path}") from None
        except (BrokenPipeError, ConnectionResetError):
            raise NoAnswer(f"mcrelay closed the connection at {self.path}") from None
        return self._result(line)

    def _send(self, line: bytes) -> None:
        try:
            self._socket.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon may have sent an error before it closed the connection

    def _line(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while not (pieces and pieces[-1].endswith(b"\n")):
            piece = self._socket.recv(RECEIVE_BYTES)
            if not piece:
                raise BrokenPipeError
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise WrongProtocol(f"the answer at {self.path} is too long to be mcrelay's")
        return b"".join(pieces)

    def _result(self, line: bytes) -> Json:
        gc.disable()  # the garbage collector would scan a large answer many times
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        finally:
            gc.enable()
        match answer:
            case {"jsonrpc": "2.0", "result": result}:
                return result
            case {"jsonrpc": "2.0", "error": {"code": int(code), "message": str(message), **rest}}:
                raise _error(code, message, rest.get("data"))
        raise WrongProtocol(f"{self.path} is not mcrelay's control socket")


def _error(code: int, message: str, data: Json) -> Exception:
    match code:
        case Code.WRONG_PROTOCOL:
            return WrongProtocol(message)
        case Code.NOT_PERMITTED:
            return AccessDenied(message)
        case _:
            return RequestFailed(code, message, data)


def connect(path: str, timeout_s: float = ANSWER_TIMEOUT_S) -> Client:
    """Connect to the daemon. Raises NotRunning, AccessDenied, WrongProtocol or NoAnswer.

    `timeout_s`, more than 0, is the longest wait for the next bytes of the daemon, now and in each call.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Not settimeout(): it makes connect(2) fail at once if the queue of clients is full.
    seconds, part = divmod(max(timeout_s, MIN_TIMEOUT_S), 1)  # struct timeval; zero means no timeout
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), int(part * 1e6)))
    client = Client(path, connection)
    try:
        _open(connection, path)
        client.greeting = _greeting(client)
    except BaseException:
        client.close()
        raise
    return client


def _greeting(client: Client) -> dict[str, Any]:
    greeting = client.call("hello", protocol=CLIENT_PROTOCOL)
    if not isinstance(greeting, dict) or greeting.get("protocol") != CLIENT_PROTOCOL:
        raise WrongProtocol(f"the server at {client.path} does not speak protocol {CLIENT_PROTOCOL}")
    return greeting


def _open(connection: socket.socket, path: str) -> None:
    try:
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            _connect_by_directory(connection, path)
        else:
            connection.connect(path)
    except FileNotFoundError:
        raise NotRunning(path, "no such socket") from None
    except ConnectionRefusedError:
        raise NotRunning(path, "no process listens on it") from None
    except BlockingIOError:
        raise NoAnswer(f"too many clients are waiting at {path}") from None
    except PermissionError:
        raise AccessDenied(f"not permitted to open {path}: join its group, or use sudo") from None
    except OSError as error:
        raise NotRunning(path, format_os_error(error)) from None


def _connect_by_directory(connection: socket.socket, path: str) -> None:
    """Connect to a socket whose path is too long for a socket address."""
    directory, name = os.path.split(path)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)
