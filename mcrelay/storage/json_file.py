"""Files that hold one JSON object. Their content is checked, because another process wrote it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mcrelay.model.os_errors import format_os_error
from mcrelay.storage import atomic


class JsonFileError(Exception):
    """A file exists, but cannot be read, is not regular, is too large, or is not a JSON object."""


def write(path: Path, document: Mapping[str, Any], mode: int = 0o640) -> None:
    """Write a document atomically and durably; raises OSError."""
    atomic.replace(path, json.dumps(document, separators=(",", ":")).encode(), mode)


def remove(path: Path) -> None:
    """Remove a file durably, if it exists; raises OSError."""
    with suppress(FileNotFoundError):
        atomic.remove(path)


def read(path: Path, max_bytes: int) -> dict[str, Any] | None:
    """Return the object in a file of at most `max_bytes`, or None if there is no file.

    Raises JsonFileError.
    """
    try:
        with open_regular_file(path) as file:
            text = file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JsonFileError(format_os_error(error)) from None
    if len(text) > max_bytes:
        raise JsonFileError(f"it is larger than {max_bytes} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise JsonFileError("it is not a JSON object")
    return document


def open_regular_file(path: Path) -> BinaryIO:
    """Open a file for reading; raises OSError, and JsonFileError if `path` is not a regular file."""
    # Does not follow a symbolic link, and does not wait for the other end of a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise JsonFileError("it is not a regular file")
    return open(descriptor, "rb")
