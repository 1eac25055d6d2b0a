"""The run directory: one daemon at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

DEFAULT = Path("/run/mcrelay")
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
