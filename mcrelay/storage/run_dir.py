"""The run directory, which belongs to one daemon at a time: its names, its default and its lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mcrelay.storage.directories import make_directory

DEFAULT = Path("/run/mcrelay")
CONTROL_SOCKET, LOCK = "control.sock", "lock"


class RunDirBusyError(Exception):
    """Another daemon runs with this directory, or the directory cannot be used."""


def default() -> Path:
    """Return the run directory that systemd made for the service, or `DEFAULT`."""
    return directory_from_systemd("RUNTIME_DIRECTORY", DEFAULT)


def directory_from_systemd(variable: str, otherwise: Path) -> Path:
    """Return the first directory in a variable that systemd sets for a service (systemd.exec(5))."""
    return Path(os.environ.get(variable, "").partition(":")[0] or otherwise)


def lock(directory: Path) -> int:
    """Make the directory, and return a descriptor that holds its lock; raises RunDirBusyError."""
    try:
        make_directory(directory, 0o755)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)  # any user who can open it could lock it
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
