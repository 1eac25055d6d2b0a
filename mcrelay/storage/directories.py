"""The directories of the daemon: their paths from systemd, and their creation independent of the umask."""

from __future__ import annotations

import os
from pathlib import Path

_PARENT_MODE = 0o755


def find_directory(variable: str, otherwise: Path) -> Path:
    """Return the first directory in a variable that systemd sets for a service (systemd.exec(5)).

    Returns `otherwise` if the variable is not set or empty.
    """
    return Path(os.environ.get(variable, "").partition(":")[0] or otherwise)


def make_directory(directory: Path, mode: int) -> None:
    """Make a directory and its missing parents, unless it exists; raises OSError."""
    try:
        directory.mkdir(mode)
    except FileExistsError:
        if not directory.is_dir():
            raise
        return
    except FileNotFoundError:
        make_directory(directory.parent, _PARENT_MODE)
        directory.mkdir(mode)
    directory.chmod(mode)
