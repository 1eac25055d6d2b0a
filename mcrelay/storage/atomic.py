"""Atomic changes of files: a reader gets either the old content or the new content.

The new content is written to a draft, a file in the same directory. It is on the disk before the draft is
renamed to the file, and the new name is on the disk when the function returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

Undo = Callable[[], None]


@contextmanager
def open_draft(file: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield the path of a new file in the directory of `file`, open for writing; raises OSError.

    The draft is removed at the end, unless it was renamed to `file`. Its name begins with a dot, so that it
    is not a drop-in. The draft of a killed process with the same number is replaced.
    """
    path = file.with_name(f".{file.name}.{os.getpid()}")
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb") as opened:
        os.fchmod(opened.fileno(), mode)  # independent of the umask
        try:
            yield path, opened
        finally:
            path.unlink(missing_ok=True)


def replace(
    file: Path, content: bytes, mode: int, prepare: Callable[[int], None] = lambda descriptor: None
) -> None:
    """Replace the content of `file`. Raises OSError; then the file is unchanged.

    The file gets `mode`, independent of the umask. `prepare` gets the descriptor of the empty draft.
    """
    with open_draft(file, mode) as (path, draft):
        prepare(draft.fileno())
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
        os.replace(path, file)
    _sync_directory(file.parent)


def remove(file: Path) -> None:
    """Remove a file; raises OSError."""
    file.unlink()
    _sync_directory(file.parent)


def write_atomically(file: Path, content: bytes | None, like: Path) -> Undo:
    """Write a configuration file, or remove it if `content` is None; return a function that undoes this.

    An existing file keeps its owner and mode. If `file` is a symbolic link, its target is written. A new file
    or directory gets the owner and permissions of the file `like`. Raises OSError.
    """
    return _remove(file) if content is None else _write(Path(os.path.realpath(file)), content, like)


def _remove(file: Path) -> Undo:
    link = os.readlink(file) if file.is_symlink() else None
    found, content = os.stat(file), file.read_bytes()
    remove(file)
    return lambda: _replace_like(found, file, content) if link is None else os.symlink(link, file)


def _write(file: Path, content: bytes, like: Path) -> Undo:
    if file.exists():
        found, before = os.stat(file), file.read_bytes()
        _replace_like(found, file, content)
        return lambda: _replace_like(found, file, before)
    is_new_directory = _make_directory(file.parent, like)
    _replace_like(os.stat(like), file, content)

    def undo() -> None:
        remove(file)
        if is_new_directory:
            with suppress(OSError):  # another process has put a file there
                file.parent.rmdir()

    return undo


def _make_directory(directory: Path, like: Path) -> bool:
    """Make a directory unless it exists, with the owner of `like`; return whether it was made.

    Users who can read `like` can list the directory.
    """
    if directory.is_dir():
        return False
    found = os.stat(like)
    readable = found.st_mode & 0o444
    directory.mkdir(mode=0o700)
    with suppress(PermissionError):
        os.chown(directory, found.st_uid, found.st_gid)
    directory.chmod(0o700 | readable | readable >> 2)
    return True


def _replace_like(like: os.stat_result, file: Path, content: bytes) -> None:
    """Replace the content of `file`, with the mode and, if permitted, the owner of `like`."""

    def copy_owner_and_mode(descriptor: int) -> None:
        with suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, like.st_mode & 0o666)

    replace(file, content, 0o600, copy_owner_and_mode)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
