"""Directories that this process makes for others to read, whatever umask it inherited."""

from __future__ import annotations

from pathlib import Path

_PARENT_MODE = 0o755


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
