"""The run directory: one daemon at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEFAULT = Path("/run/mcrelay")
BACKLOG = 64  # clients that wait before the next one; further ones wait in connect(2), and flood nobody
CONTROL_SOCKET = "control.sock"


class Taken(Exception):
    """Another daemon runs with this directory, or the directory cannot be used."""


def default() -> Path:
    """Return the directory that systemd made for the service, else the usual one."""
    # systemd separates several with colons; the first is ours.
    return Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or DEFAULT)


def lock(directory: Path) -> int:
    """Make the directory, take its lock, and return the descriptor that holds it while the process lives."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)  # whoever may open it could lock it
    except OSError as error:
        raise Taken(f"cannot use the run directory {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise Taken(
            f"mcrelay runs already with {directory} (process {holder}); "
            "`mcrelay reload` has that one read its files, or give this one another --run-dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


@contextmanager
def listening(directory: Path, group: int | None) -> Iterator[socket.socket]:
    """Listen on the control socket for owner and `group`, None for the process's own; remove it at the end.

    The lock of the directory is held meanwhile, so what lies there is of a daemon that is dead.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with listener:
        try:
            (directory / CONTROL_SOCKET).unlink(missing_ok=True)
            _bind(listener, directory, group)
        except OSError as error:
            raise Taken(
                f"cannot listen on {directory / CONTROL_SOCKET}: {error.strerror or error}"
            ) from error
        listener.listen(BACKLOG)
        listener.setblocking(False)
        try:
            yield listener
        finally:
            (directory / CONTROL_SOCKET).unlink(missing_ok=True)


def _bind(listener: socket.socket, directory: Path, group: int | None) -> None:
    # A name in sockaddr_un has 107 octets, and a path may be longer.
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mask, own = os.umask(0o117), os.getegid()
    try:
        if group is not None:
            os.setegid(group)  # whoever makes a file decides on its group; chown(2) would take a capability
        listener.bind(f"/proc/self/fd/{folder}/{CONTROL_SOCKET}")
    finally:
        os.setegid(own)
        os.umask(mask)
        os.close(folder)
