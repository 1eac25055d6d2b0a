"""The client of the control socket: what the command line asks a running daemon with."""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
from types import TracebackType
from typing import Any

from mcrelay.protocol.jsonrpc import PROTOCOL, Code, Json, encode_request

PATIENCE = 10.0  # seconds without a sign of life of the daemon
SHORTEST = 0.001  # seconds of patience
MAX_ANSWER = 256 << 20  # octets; 10,000 rules with their outputs take about 15 million
MAX_PATH = 107  # octets of a socket's path (sun_path of linux/un.h, less its end)
PIECE = 256 << 10


class NotRunning(Exception):
    """Nobody listens at the socket."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"no daemon at {path}: {why}")
        self.path, self.why = path, why


class NotPermitted(Exception):
    """This user may not open the socket, or may not do what was asked for."""


class WrongProtocol(Exception):
    """Something else listens at the socket, or a daemon of another version."""


class Failed(Exception):
    """The daemon answered with an error; `data` is what it adds for programs."""

    def __init__(self, code: int, message: str, data: Json) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class BrokenOff(Exception):
    """The daemon closed the connection, or did not answer in time: connect anew."""


Unreachable = NotRunning | NotPermitted | WrongProtocol | BrokenOff
UNREACHABLE = (NotRunning, NotPermitted, WrongProtocol, BrokenOff)  # the same, for `except`


class Client:
    """A connection that has been greeted. One call at a time."""

    def __init__(self, path: str, connection: socket.socket) -> None:
        self.path = path
        self.greeting: dict[str, Any] = {}
        """What the daemon said of itself: protocol, version, pid, config, generation."""
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
        """End the connection."""
        self._socket.close()

    def call(self, method: str, **params: Json) -> Json:
        """Return the result of a method; raises Failed, NotPermitted, WrongProtocol or BrokenOff."""
        self._calls += 1
        try:
            self._send(encode_request(self._calls, method, params))
            line = self._line()
        except BlockingIOError:  # SO_RCVTIMEO, SO_SNDTIMEO
            raise BrokenOff(f"no answer in time at {self.path}") from None
        except (BrokenPipeError, ConnectionResetError):
            raise BrokenOff(f"mcrelay closed the connection at {self.path}") from None
        return self._result(line)

    def _send(self, line: bytes) -> None:
        try:
            self._socket.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have said why before it closed

    def _line(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while not (pieces and pieces[-1].endswith(b"\n")):
            piece = self._socket.recv(PIECE)
            if not piece:
                raise BrokenPipeError
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER:
                raise WrongProtocol(f"an answer at {self.path} has no end; is it mcrelay's control socket?")
        return b"".join(pieces)

    def _result(self, line: bytes) -> Json:
        gc.disable()  # a large answer makes it look for cycles again and again, and there are none
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
        raise WrongProtocol(f"what listens at {self.path} is not mcrelay's control socket")


def _error(code: int, message: str, data: Json) -> Exception:
    match code:
        case Code.WRONG_PROTOCOL:
            return WrongProtocol(message)
        case Code.NOT_PERMITTED:
            return NotPermitted(message)
        case _:
            return Failed(code, message, data)


def connect(path: str, patience: float = PATIENCE) -> Client:
    """Connect to the daemon and greet it; raises NotRunning, NotPermitted, WrongProtocol or BrokenOff.

    `patience` are the seconds without a sign of life of the daemon, now and at each call, more than 0.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Not settimeout(): a connect(2) that is not to block fails at once where the queue of clients is full.
    seconds, part = divmod(max(patience, SHORTEST), 1)  # struct timeval; all zero is for ever
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
    greeting = client.call("hello", protocol=PROTOCOL)
    if not isinstance(greeting, dict) or greeting.get("protocol") != PROTOCOL:
        raise WrongProtocol(f"what listens at {client.path} does not speak protocol {PROTOCOL}")
    return greeting


def _open(connection: socket.socket, path: str) -> None:
    try:
        if len(os.fsencode(path)) > MAX_PATH:
            _connect_by_folder(connection, path)
        else:
            connection.connect(path)
    except FileNotFoundError:
        raise NotRunning(path, "no such socket") from None
    except ConnectionRefusedError:
        raise NotRunning(path, "nobody listens there") from None
    except BlockingIOError:
        raise BrokenOff(f"too many clients wait at {path}") from None
    except PermissionError:
        raise NotPermitted(f"you may not open {path}: ask for its group, or use sudo") from None
    except OSError as error:
        raise NotRunning(path, (error.strerror or str(error)).lower()) from None


def _connect_by_folder(connection: socket.socket, path: str) -> None:
    """Connect to a socket whose path is too long to be an address."""
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)
