"""Abstract names of Unix sockets (unix(7)), which are no files. A network namespace has each name once."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The process at the other end of a Unix socket; of a listening socket, the one that called listen(2).

    `pid` is 0 if the process is in another PID namespace.
    """

    pid: int
    uid: int


def read_credentials(connected: socket.socket) -> Credentials:
    """Return the process at the other end of a connected Unix socket."""
    found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return Credentials(pid, uid)


def listen_at(name: str, backlog: int) -> socket.socket | None:
    """Return a non-blocking socket that listens at a name, or None if the name is taken; raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        listener.bind(f"\0{name}")
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return listener


def connect_to(name: str) -> socket.socket | None:
    """Return a non-blocking connection to a name.

    Returns None if no process listens at the name, or if too many connections wait there.
    """
    connection = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    )
    try:
        connection.connect(f"\0{name}")
    except OSError:
        connection.close()
        return None
    return connection


def accept_all(listener: socket.socket, most: int) -> list[socket.socket]:
    """Return the connections that wait, non-blocking, `most` at most."""
    connections: list[socket.socket] = []
    while len(connections) < most:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        connection.setblocking(False)
        connections.append(connection)
    return connections
