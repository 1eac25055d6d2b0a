"""The file in the run directory in which an operator asks for more than a reload, before he sends SIGHUP."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from mcrelay.reload.requests import MOST_OCTETS, OperatorRequest, RequestError, text_of, wish_of
from mcrelay.storage import json_file

log = logging.getLogger("mcrelay")

NAME = "request"
TIMELY = 60.0  # seconds after which nobody waits any more for what was asked


class Occupied(Exception):
    """Somebody else has asked, and the supervisor has not seen it yet."""


def place(directory: Path, wish: OperatorRequest, uid: int) -> None:
    """Put a wish where the supervisor, which runs as `uid`, finds it; raises Occupied and OSError.

    The signal has to follow at once: a wish of which nobody told is no wish after a minute.
    """
    draft = directory / f".{NAME}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as opened:
        try:
            opened.write(text_of(wish))
            opened.flush()
            if uid != os.geteuid():
                os.fchown(opened.fileno(), uid, -1)
            _drop_if_late(directory / NAME)
            os.link(draft, directory / NAME, follow_symlinks=False)
        except FileExistsError:
            raise Occupied(f"{directory / NAME} waits for the supervisor; try again in a moment") from None
        finally:
            draft.unlink(missing_ok=True)


def take(directory: Path) -> OperatorRequest | None:
    """Return what is wished, and take it away; None where nothing counts as a wish; raises NoWish."""
    path = directory / NAME
    try:
        with json_file.opened(path) as opened:
            why_not = _why_not(os.fstat(opened.fileno()))
            text = opened.read(MOST_OCTETS + 1)
    except FileNotFoundError:
        return None
    except (OSError, json_file.JsonFileError) as error:
        why_not, text = str(error), b""
    _remove(path)
    if why_not:
        log.warning("%s is ignored: %s", path, why_not)
        return None
    if len(text) > MOST_OCTETS:
        raise RequestError(f"it is larger than {MOST_OCTETS} octets")
    return wish_of(text)


def _why_not(found: os.stat_result) -> str:
    """Return why a file counts for nothing, whatever it says."""
    if found.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {found.st_uid}, who may not ask"
    if abs(time.time() - found.st_mtime) > TIMELY:
        return "it was written long ago, and nobody waits for it any more"
    return ""


def _drop_if_late(path: Path) -> None:
    try:
        if abs(time.time() - path.lstat().st_mtime) > TIMELY:
            path.unlink()
    except FileNotFoundError:
        pass


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        log.warning("cannot remove %s: %s", path, error.strerror)
