"""A file put in place at once: whoever reads it meanwhile gets the old or the new one, never half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Undo = Callable[[], None]


def write_atomically(file: Path, content: bytes | None, like: Path) -> Undo:
    """Give a file this content, None for no file at all; return what makes it again what it was.

    A new file may be read by whoever may read `like`. Raises OSError.
    """
    return _removed(file) if content is None else _written(Path(os.path.realpath(file)), content, like)


def _removed(file: Path) -> Undo:
    link = os.readlink(file) if file.is_symlink() else None
    found, content = os.stat(file), file.read_bytes()
    _unlink(file)
    return lambda: _write(file, content, found) if link is None else os.symlink(link, file)


def _written(file: Path, content: bytes, like: Path) -> Undo:
    if file.exists():
        found, before = os.stat(file), file.read_bytes()
        _write(file, content, found)
        return lambda: _write(file, before, found)
    made = _make(file.parent, like)
    _write(file, content, os.stat(like))

    def undo() -> None:
        _unlink(file)
        if made:
            with suppress(OSError):  # somebody else has put a file there meanwhile
                file.parent.rmdir()

    return undo


def _make(folder: Path, like: Path) -> bool:
    """Make a folder where there is none, for whoever may read `like`; tell whether it had to be made."""
    if folder.is_dir():
        return False
    found = os.stat(like)
    readable = found.st_mode & 0o444
    folder.mkdir(mode=0o700)
    with suppress(PermissionError):
        os.chown(folder, found.st_uid, found.st_gid)
    folder.chmod(0o700 | readable | readable >> 2)
    return True


def _write(file: Path, content: bytes, like: os.stat_result) -> None:
    """Put a file in place with the owner and the mode of another one, as far as this user may."""
    # A name that begins with a dot is no drop-in.
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with open(descriptor, "wb") as written:
            with suppress(PermissionError):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, like.st_mode & 0o666)
            written.write(content)
            written.flush()
            os.fsync(descriptor)
        os.replace(draft, file)
    except BaseException:
        os.unlink(draft)
        raise
    _sync(file.parent)


def _unlink(file: Path) -> None:
    file.unlink()
    _sync(file.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
