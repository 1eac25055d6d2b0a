"""A second lock of the run directory, which outlives the directory: a name in the network namespace.

The lock file vanishes with a directory that is removed and made again. Then only the name keeps a second
daemon from relaying every packet once more. Any user can take a name: only root and the own user count.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from pathlib import Path

from mcrelay.linux.unix_names import Credentials, accept_all, connect_to, listen_at, read_credentials
from mcrelay.storage.run_dir import RunDirBusyError, describe_holder
from mcrelay.supervisor.privileged import users_of_daemons

log = logging.getLogger("mcrelay")

NAMES = 8  # for a directory, in case that strangers have taken some
BACKLOG = 64


class RunDirName:
    """Holds a name of the run directory for as long as the process lives. Raises RunDirBusyError."""

    def __init__(self, directory: Path) -> None:
        self._listener: socket.socket | None = None
        path = os.path.realpath(directory)
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()
        for number in range(NAMES):
            self._take(f"mcrelay/run-dir/{digest}/{number}", path, directory)

    def _take(self, name: str, path: str, directory: Path) -> None:
        """Take a name unless this object holds one; raises RunDirBusyError if another daemon holds it."""
        if self._listener is None:
            self._listener = listen_at(name, BACKLOG)
            if self._listener is not None:
                return
        if (holder := _find_holder(name)) is None:
            return
        if not _is_trusted(holder):
            log.warning("process %d of user %d holds a name of mcrelay; ignored", holder.pid, holder.uid)
        elif _uses(holder.pid, path):
            raise RunDirBusyError(describe_holder(directory, str(holder.pid)))

    def discard_connections(self) -> None:
        """Close the connections of daemons that have looked who holds the name."""
        if self._listener is not None:
            for connection in accept_all(self._listener, BACKLOG):
                connection.close()


def _find_holder(name: str) -> Credentials | None:
    connection = connect_to(name)
    if connection is None:
        return None
    with connection:
        return read_credentials(connection)


def _is_trusted(holder: Credentials) -> bool:
    return holder.uid in users_of_daemons()


def _uses(pid: int, path: str) -> bool:
    """Return whether a process sees the same directory at `path`: not if it is in another container."""
    if pid == 0:
        return False
    try:
        theirs, ours = os.stat(f"/proc/{pid}/root{path}"), os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:  # this process may not look
        return True
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
