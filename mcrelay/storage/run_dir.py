"""The run directory: its default, its lock, and its file names. One daemon at a time holds the lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mcrelay.model.os_errors import format_os_error
from mcrelay.storage.directories import find_directory, make_directory

DEFAULT = Path("/run/mcrelay")
CONTROL_SOCKET, LOCK = "control.sock", "lock"


class RunDirBusyError(Exception):
    """Another daemon uses the run directory, or the directory cannot be used."""


def default() -> Path:
    """Return the run directory that systemd made for the service, or `DEFAULT`."""
    return find_directory("RUNTIME_DIRECTORY", DEFAULT)


def lock(directory: Path) -> int:
    """Make the directory, and return a descriptor that holds its lock; raises RunDirBusyError."""
    try:
        make_directory(directory, 0o755)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)  # any user who can open it could lock it
    except OSError as error:
        reason = format_os_error(error)
        raise RunDirBusyError(f"cannot use the run directory {directory}: {reason}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise RunDirBusyError(describe_holder(directory, holder)) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def describe_holder(directory: Path, holder: str) -> str:
    """Return the message of RunDirBusyError if a process, given by its ID, uses the directory."""
    return (
        f"mcrelay is already running in {directory} (process {holder}): "
        "use `mcrelay reload`, or choose another --run-dir"
    )
