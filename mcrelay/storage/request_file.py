"""The file in the run directory that holds an operator's request. SIGUSR2 follows it.

Every user who may write to the run directory may make a request: the kernel decides that.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from mcrelay.model.os_errors import format_os_error
from mcrelay.reload.requests import (
    MAX_BYTES,
    OperatorRequest,
    RequestError,
    format_request,
    parse_request,
)
from mcrelay.storage import atomic, json_file

log = logging.getLogger("mcrelay")

NAME = "request"
MAX_AGE_S = 60.0  # after which the operator does not wait for the answer any more


class RequestPendingError(Exception):
    """The supervisor has not yet read the request of another operator."""


def write(directory: Path, request: OperatorRequest, uid: int) -> None:
    """Write a request for the supervisor, which runs as user `uid`; raises RequestPendingError and OSError.

    SIGUSR2 has to follow within `MAX_AGE_S`.
    """
    path = directory / NAME
    with atomic.open_draft(path, 0o600) as (draft, opened):
        opened.write(format_request(request).encode())
        opened.flush()
        if uid != os.geteuid():
            os.fchown(opened.fileno(), uid, -1)
        _remove_if_too_old(path)
        try:
            os.link(draft, path, follow_symlinks=False)  # which, unlike rename(2), replaces no file
        except FileExistsError:
            raise RequestPendingError(f"{path} waits for the supervisor; try again in a moment") from None


def take(directory: Path) -> OperatorRequest | None:
    """Return the request and remove its file; None if there is no file.

    Raises RequestError where it is no regular file, too old, of another user, or does not hold a request.
    """
    path = directory / NAME
    try:
        with json_file.open_regular_file(path) as opened:
            why_refused = _why_refused(os.fstat(opened.fileno()))
            text = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, json_file.JsonFileError) as error:
        why_refused, text = str(error), b""
    _remove(path)
    if why_refused:
        raise RequestError(why_refused)
    if len(text) > MAX_BYTES:
        raise RequestError(f"it is larger than {MAX_BYTES} bytes")
    return parse_request(text)


def _why_refused(found: os.stat_result) -> str:
    """Return why a file is refused whatever its content, or an empty text."""
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {found.st_uid}, who may not make requests"
    if _is_too_old(found):
        return f"it is older than {MAX_AGE_S:g} s, after which nobody waits for the answer"
    return ""


def _remove_if_too_old(path: Path) -> None:
    try:
        if _is_too_old(path.lstat()):
            path.unlink()
    except FileNotFoundError:
        pass


def _is_too_old(found: os.stat_result) -> bool:
    return abs(time.time() - found.st_mtime) > MAX_AGE_S


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        log.warning("cannot remove %s: %s", path, format_os_error(error))
