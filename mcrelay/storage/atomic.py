"""Files that change as a whole: a reader gets the old content or the new one, never a part of it.

Each writer fills a draft beside the file. The draft's content is on the disk before the draft gets the name
of the file, and the name is on the disk when the writer returns.
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
    """Yield the path of a new file beside `file`, and the file open for writing; raises OSError.

    The draft is removed at the end, unless it was renamed to `file`. Its name begins with a dot, so that it
    is no drop-in. A draft that a killed process with the same number left is replaced.
    """
    path = file.with_name(f".{file.name}.{os.getpid()}")
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb") as opened:
        os.fchmod(opened.fileno(), mode)  # whatever the umask
        try:
            yield path, opened
        finally:
            path.unlink(missing_ok=True)


def replace(
    file: Path, content: bytes, mode: int, prepare: Callable[[int], None] = lambda descriptor: None
) -> None:
    """Give `file` this content; raises OSError, after which the file is as it was.

    `mode` is the file's, whatever the umask; `prepare` gets the descriptor of the empty draft.
    """
    with open_draft(file, mode) as (path, draft):
        prepare(draft.fileno())
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
        os.replace(path, file)
    _sync_folder(file.parent)


def remove(file: Path) -> None:
    """Remove a file; raises OSError."""
    file.unlink()
    _sync_folder(file.parent)


def write_atomically(file: Path, content: bytes | None, like: Path) -> Undo:
    """Write a configuration file, or remove it if `content` is None; return a function that undoes this.

    A file that exists keeps its owner and mode, and what a link names is changed rather than the link. A new
    file, and a new folder, can be read by those who can read `like`. Raises OSError.
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
    is_new_folder = _make_folder(file.parent, like)
    _replace_like(os.stat(like), file, content)

    def undo() -> None:
        remove(file)
        if is_new_folder:
            with suppress(OSError):  # another process has put a file there in the meantime
                file.parent.rmdir()

    return undo


def _make_folder(folder: Path, like: Path) -> bool:
    """Make a folder unless it exists, for those who can read `like`; return whether it was made."""
    if folder.is_dir():
        return False
    found = os.stat(like)
    readable = found.st_mode & 0o444
    folder.mkdir(mode=0o700)
    with suppress(PermissionError):
        os.chown(folder, found.st_uid, found.st_gid)
    folder.chmod(0o700 | readable | readable >> 2)
    return True


def _replace_like(like: os.stat_result, file: Path, content: bytes) -> None:
    """Give `file` this content, and the owner and mode of `like` as far as this user may."""

    def take_over(descriptor: int) -> None:
        with suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, like.st_mode & 0o666)

    replace(file, content, 0o600, take_over)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
