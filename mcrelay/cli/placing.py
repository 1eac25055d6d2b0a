"""A file put in place at once: whoever reads it meanwhile gets the old or the new one, never half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def place(file: Path, content: bytes | None, like: Path) -> Callable[[], None]:
    """Give a file this content, None for no file at all; return what makes it again what it was.

    A new file may be read by whoever may read `like`. Raises OSError.
    """
    target = Path(os.path.realpath(file)) if content is not None else file  # a link leads where it led
    before = file.read_bytes() if file.exists() else None
    made = _make(target.parent, like)
    _put(target, content, target if before is not None else like)

    def undo() -> None:
        _put(target, before, target if content is not None else like)
        if made:
            with suppress(OSError):  # somebody else has put a file there meanwhile
                target.parent.rmdir()

    return undo


def _make(folder: Path, like: Path) -> bool:
    """Make a folder where there is none, for whoever may read `like`; tell whether it had to be made."""
    if folder.is_dir():
        return False
    readable = os.stat(like).st_mode & 0o444
    folder.mkdir(mode=0o755)
    folder.chmod(0o700 | readable | readable >> 2)
    return True


def _put(file: Path, content: bytes | None, like: Path) -> None:
    if content is None:
        file.unlink()
    else:
        # A name that begins with a dot is no drop-in.
        descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with open(descriptor, "wb") as written:
                _resemble(descriptor, os.stat(like))
                written.write(content)
                written.flush()
                os.fsync(descriptor)
            os.replace(draft, file)
        except BaseException:
            os.unlink(draft)
            raise
    _sync(file.parent)


def _resemble(descriptor: int, other: os.stat_result) -> None:
    """Give an open file the owner and the mode of another, as far as this user may."""
    with suppress(PermissionError):
        os.fchown(descriptor, other.st_uid, other.st_gid)
    os.fchmod(descriptor, other.st_mode & 0o666)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
