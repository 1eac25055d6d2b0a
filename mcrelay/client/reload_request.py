"""A reload of the running daemon: asked for with SIGHUP, and waited for until its verdict stands."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from mcrelay.client.connection import PATIENCE as CALL_PATIENCE
from mcrelay.client.connection import BrokenOff, NotPermitted, connect

PAUSE = 0.03  # seconds between two looks
PATIENCE = 60.0  # seconds; a reload waits for what workers do

Answer = dict[str, Any]


def looks_at_the_files(one: Mapping[str, Any]) -> bool:
    """Tell whether a verdict is on the files: nobody reads them to confirm what runs, or to roll it back."""
    return one.get("cause") not in ("confirm", "deadline")


def request_reload(
    path: str,
    patience: float,
    before: Callable[[Answer], None] = lambda greeting: None,
    answers: Callable[[Answer], bool] = looks_at_the_files,
) -> tuple[Answer, Answer]:
    """Send SIGHUP after what has to be done `before`; return the greeting and the verdict that `answers`.

    It is on the files as they stand at the call or later. Raises one of `UNREACHABLE`.
    """
    end = time.monotonic() + patience
    greeting, mark = call_with_retry(path, "reload.mark", patience)
    heard = begun = mark["begun"]
    before(greeting)
    _hang_up(greeting["pid"])
    while time.monotonic() < end:
        now, latest = call_with_retry(path, "reload.verdict", end - time.monotonic())
        if now["pid"] != greeting["pid"]:
            raise BrokenOff("mcrelay was restarted meanwhile: see `mcrelay status`")
        later = [one for one in (latest, *latest.get("earlier", ())) if one["finished"] > begun]
        if ours := [one for one in later if answers(one)]:
            return greeting, min(ours, key=lambda one: int(one["finished"]))  # others may have asked since
        if latest["finished"] > heard and not looks_at_the_files(latest):  # it may have taken our signal
            heard = latest["finished"]
            _hang_up(greeting["pid"])
        time.sleep(PAUSE)
    raise BrokenOff(f"no verdict within {patience:g} s; the reload goes on: see `mcrelay status`")


def call_with_retry(path: str, method: str, patience: float) -> tuple[Answer, Answer]:
    """Return the greeting and the answer. A control process that dies meanwhile comes back."""
    end = time.monotonic() + patience
    while True:
        try:
            with connect(path, min(end - time.monotonic(), CALL_PATIENCE)) as client:
                return client.greeting, client.call(method)
        except BrokenOff:
            if time.monotonic() + PAUSE >= end:
                raise
            time.sleep(PAUSE)


def must_be_permitted(pid: int) -> None:
    """Raise `NotPermitted` where this user may not ask a daemon for a reload: the kernel decides who may."""
    _signal(pid, 0)


def _hang_up(pid: int) -> None:
    _signal(pid, signal.SIGHUP)


def _signal(pid: int, number: int) -> None:
    try:
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)
    except PermissionError:
        raise NotPermitted(f"you may not signal process {pid}: use sudo") from None
    except ProcessLookupError:
        raise BrokenOff(f"process {pid} has ended, or is hidden from here: nothing was reloaded") from None
