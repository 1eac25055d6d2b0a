"""The file in the run directory with an operator's request. SIGUSR2 makes the supervisor read the file.

The kernel decides who may make a request: a user needs permission to write to the run directory.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from mcrelay.model.os_errors import format_os_error
from mcrelay.reload.requests import (
    MAX_REQUEST_BYTES,
    OperatorRequest,
    RequestError,
    format_request,
    parse_request,
)
from mcrelay.storage import atomic, json_file

log = logging.getLogger("mcrelay")

NAME = "request"
MAX_AGE_S = 60.0  # later, the operator has stopped waiting for the result


class RequestPendingError(Exception):
    """The supervisor has not yet read the request of another operator."""


def write(directory: Path, request: OperatorRequest, uid: int) -> None:
    """Write a request to the supervisor, which runs as user `uid`; raises RequestPendingError and OSError.

    The caller must send SIGUSR2 within `MAX_AGE_S`.
    """
    path = directory / NAME
    with atomic.open_draft(path, 0o600) as (draft, opened):
        opened.write(format_request(request).encode())
        opened.flush()
        if uid != os.geteuid():
            os.fchown(opened.fileno(), uid, -1)
        _remove_if_too_old(path)
        try:
            os.link(draft, path, follow_symlinks=False)  # link(2), unlike rename(2), does not replace a file
        except FileExistsError:
            raise RequestPendingError(f"{path} waits for the supervisor; try again in a moment") from None


def consume(directory: Path) -> OperatorRequest | None:
    """Read the request and remove its file; return None if there is no file.

    Raises RequestError if the file is not regular, too old, of another user, or does not hold a request.
    """
    path = directory / NAME
    try:
        with json_file.open_regular_file(path) as opened:
            refusal = _find_refusal(os.fstat(opened.fileno()))
            text = opened.read(MAX_REQUEST_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, json_file.JsonFileError) as error:
        refusal, text = str(error), b""
    _remove(path)
    if refusal:
        raise RequestError(refusal)
    if len(text) > MAX_REQUEST_BYTES:
        raise RequestError(f"it is larger than {MAX_REQUEST_BYTES} bytes")
    return parse_request(text)


def _find_refusal(found: os.stat_result) -> str:
    """Return the reason to refuse a file by its owner or age, or an empty text."""
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {found.st_uid}, who is not permitted to make requests"
    if _is_too_old(found):
        return f"it is older than {MAX_AGE_S:g} s, and the operator has stopped waiting"
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
