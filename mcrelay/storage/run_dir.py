"""The run directory: one daemon at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("mcrelay")

DEFAULT = Path("/run/mcrelay")
BACKLOG = 64  # clients that wait before the next one; further ones wait in connect(2), and flood nobody
CONTROL_SOCKET, LOCK = "control.sock", "lock"


class RunDirBusyError(Exception):
    """Another daemon runs with this directory, or the directory cannot be used."""


def default() -> Path:
    """Return the directory that systemd made for the service, else the usual one."""
    # systemd separates several with colons; the first is ours.
    return Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or DEFAULT)


def lock(directory: Path) -> int:
    """Make the directory, take its lock, and return the descriptor that holds it while the process lives."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)  # whoever may open it could lock it
    except OSError as error:
        raise RunDirBusyError(f"cannot use the run directory {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise RunDirBusyError(
            f"mcrelay runs already with {directory} (process {holder}); "
            "`mcrelay reload` has that one read its files, or give this one another --run-dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


class ControlListener:
    """The control socket, at which clients knock, and the lock of its directory.

    `held` is the descriptor of the lock. While that is held, what lies there is ours, or a dead daemon's.
    """

    def __init__(self, directory: Path, group: int | None, held: int) -> None:
        self.path = directory / CONTROL_SOCKET
        self._directory = directory
        self._group = group
        self._held = held
        self._complaint = ""
        try:
            self.listener, self._inode = _listener(directory, group)
        except OSError as error:
            raise RunDirBusyError(f"cannot listen on {self.path}: {error.strerror or error}") from error

    def fileno(self) -> int:
        """Return the descriptor of the socket, which stays the same."""
        return self.listener.fileno()

    def reopened(self) -> bool:
        """Listen anew where somebody removed the socket or its directory; tell whether that was done."""
        if _inode(self.path) == self._inode:
            return False
        try:
            self._lock_again()
            fresh, self._inode = _listener(self._directory, self._group)
        except (OSError, RunDirBusyError) as error:
            self._complain(str(error))
            return False
        with fresh:
            os.dup2(fresh.fileno(), self.fileno(), inheritable=False)
        log.warning("somebody removed %s; it is there again", self.path)
        self._complaint = ""
        return True

    def close(self) -> None:
        """Listen no longer, and leave nothing behind but what is somebody else's."""
        if _inode(self.path) == self._inode:
            self.path.unlink(missing_ok=True)
        self.listener.close()

    def _lock_again(self) -> None:
        """Take the lock that lies there now, which is another one where the directory is; raises Taken."""
        if _inode(self._directory / LOCK) == _inode(self._held):
            return
        fresh = lock(self._directory)
        os.dup2(fresh, self._held, inheritable=False)
        os.close(fresh)

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            log.warning("somebody removed %s, and it cannot be made again: %s", self.path, why)


@contextmanager
def listening(directory: Path, group: int | None, held: int) -> Iterator[ControlListener]:
    """Listen for owner and `group`, None for the process's own, with the lock `held`; leave no trace."""
    door = ControlListener(directory, group, held)
    try:
        yield door
    finally:
        door.close()


def _listener(directory: Path, group: int | None) -> tuple[socket.socket, tuple[int, int] | None]:
    """Return a socket that listens in the place of what a daemon left that is dead, and its inode."""
    path = directory / CONTROL_SOCKET
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        _bind(listener, directory, group)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener, _inode(path)


def _inode(place: Path | int) -> tuple[int, int] | None:
    """Return what tells a file from all others, None where there is none."""
    try:
        found = os.stat(place, follow_symlinks=isinstance(place, int))
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
