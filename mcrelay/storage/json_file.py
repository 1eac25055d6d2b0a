"""Files of JSON that processes leave for one another: written whole, and read with suspicion."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO


class JsonFileError(Exception):
    """A file is there, and is not what it should be."""


def write(path: Path, document: Mapping[str, Any], mode: int = 0o640) -> None:
    """Put a document at `path`, whole or not at all, also if the power fails meanwhile; raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "w") as opened:
        try:
            json.dump(document, opened, separators=(",", ":"))
            opened.flush()
            os.fsync(opened.fileno())
            os.rename(draft, path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file for good; raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    _sync_folder(path.parent)


def read(path: Path, most: int) -> dict[str, Any] | None:
    """Return the document of at most so many octets, None where there is no file; raises Unreadable."""
    try:
        with opened(path) as file:
            text = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JsonFileError((error.strerror or str(error)).lower()) from None
    if len(text) > most:
        raise JsonFileError(f"it is larger than {most} octets")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise JsonFileError("it is no JSON object")
    return document


def opened(path: Path) -> BinaryIO:
    """Open a file for reading; raises OSError, and Unreadable where it is something else than a file."""
    # Neither a link's target nor a pipe's other end is waited for or trusted.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise JsonFileError("it is no file")
    return open(descriptor, "rb")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
