"""The control socket, on which the control process accepts clients."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcrelay.model.os_errors import format_os_error
from mcrelay.storage.run_dir import CONTROL_SOCKET, LOCK, RunDirBusyError, lock

log = logging.getLogger("mcrelay")

BACKLOG = 64  # clients that wait for accept(2); further ones wait in connect(2)


class ControlListener:
    """Holds the listening socket in the run directory, and the lock of that directory.

    `lock_descriptor` holds the lock. While the daemon has the lock, a socket file in the directory belongs
    to this daemon, or to one that has died.
    """

    def __init__(self, directory: Path, group: int | None, lock_descriptor: int) -> None:
        self.path = directory / CONTROL_SOCKET
        self._directory = directory
        self._group = group
        self._lock_descriptor = lock_descriptor
        self._last_warning = ""
        try:
            self.listener, self._inode = _open_listener(directory, group)
        except OSError as error:
            raise RunDirBusyError(f"cannot listen on {self.path}: {format_os_error(error)}") from error

    def fileno(self) -> int:
        """Return the descriptor of the socket, which stays the same when the socket is created again."""
        return self.listener.fileno()

    def reopen_if_removed(self) -> bool:
        """Create the socket again if its file or the directory was removed; return whether it was created."""
        if _inode(self.path) == self._inode:
            return False
        try:
            self._lock_again()
            fresh, self._inode = _open_listener(self._directory, self._group)
        except (OSError, RunDirBusyError) as error:
            self._warn_once(str(error))
            return False
        with fresh:
            os.dup2(fresh.fileno(), self.fileno(), inheritable=False)
        log.warning("%s was removed; mcrelay has created it again", self.path)
        self._last_warning = ""
        return True

    def close(self) -> None:
        """Close the socket, and remove its file unless it now belongs to another process."""
        if _inode(self.path) == self._inode:
            self.path.unlink(missing_ok=True)
        self.listener.close()

    def _lock_again(self) -> None:
        """Lock the run directory again if it was replaced by another one; raises RunDirBusyError."""
        if _inode(self._directory / LOCK) == _inode(self._lock_descriptor):
            return
        fresh = lock(self._directory)
        os.dup2(fresh, self._lock_descriptor, inheritable=False)
        os.close(fresh)

    def _warn_once(self, reason: str) -> None:
        if reason != self._last_warning:
            self._last_warning = reason
            log.warning("%s was removed, and cannot be created again: %s", self.path, reason)


@contextmanager
def listen(directory: Path, group: int | None, lock_descriptor: int) -> Iterator[ControlListener]:
    """Listen for the owner and for `group` (None: the group of this process) in a locked run directory.

    The socket's file is removed at the end. Raises RunDirBusyError.
    """
    listener = ControlListener(directory, group, lock_descriptor)
    try:
        yield listener
    finally:
        listener.close()


def _open_listener(directory: Path, group: int | None) -> tuple[socket.socket, tuple[int, int] | None]:
    """Return a listening socket and the inode of its file. Replaces the file of a dead daemon."""
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


def _inode(file: Path | int) -> tuple[int, int] | None:
    """Return device and inode of a path or descriptor, None if the file does not exist."""
    try:
        found = os.stat(file, follow_symlinks=isinstance(file, int))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _bind(listener: socket.socket, directory: Path, group: int | None) -> None:
    # A path in sockaddr_un has at most 107 bytes; the path of the directory may be longer.
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mask, own = os.umask(0o117), os.getegid()
    try:
        if group is not None:
            os.setegid(group)  # the effective group owns a new file; chown(2) would take a capability
        listener.bind(f"/proc/self/fd/{folder}/{CONTROL_SOCKET}")
    finally:
        os.setegid(own)
        os.umask(mask)
        os.close(folder)
