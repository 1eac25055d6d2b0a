"""A reload of the running daemon: asked for with SIGHUP, and waited for until its verdict stands."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from mcrelay.cli import daemon
from mcrelay.control.client import BrokenOff, NotPermitted

PAUSE = 0.03  # seconds between two looks
PATIENCE = 60.0  # seconds; a reload waits for what workers do

Answer = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says how long to wait."""
    parser.add_argument(
        "--timeout",
        metavar="SEC",
        type=float,
        default=PATIENCE,
        help="how long to wait for the verdict (default: %(default)g)",
    )


def verdict(
    options: argparse.Namespace, patience: float, before: Callable[[Answer], None] = lambda greeting: None
) -> tuple[Answer, Answer]:
    """Have the files read anew, after whatever has to be done `before`; return the greeting and the verdict.

    Raises one of `daemon.UNREACHABLE`.
    """
    end = time.monotonic() + patience
    greeting, mark = asked(options, "reload.mark", patience)
    before(greeting)
    _hang_up(greeting["pid"])
    while time.monotonic() < end:
        now, latest = asked(options, "reload.verdict", patience)
        if now["pid"] != greeting["pid"]:
            raise BrokenOff("mcrelay was restarted meanwhile: see `mcrelay status`")
        if latest["finished"] > mark["begun"]:
            return greeting, _own(latest, mark["begun"])
        time.sleep(PAUSE)
    raise BrokenOff(f"no verdict within {patience:g} s; the reload goes on: see `mcrelay status`")


def _own(latest: Mapping[str, Any], begun: int) -> Answer:
    """Return the verdict of the first reload after `begun`: others may have reloaded since."""
    later = [one for one in (latest, *latest.get("earlier", ())) if one["finished"] > begun]
    return dict(min(later, key=lambda one: int(one["finished"])))


def asked(options: argparse.Namespace, method: str, patience: float) -> tuple[Answer, Answer]:
    """Return the greeting and the answer. A control process that dies meanwhile comes back."""
    end = time.monotonic() + patience
    while True:
        try:
            with daemon.connected(options) as client:
                return client.greeting, client.call(method)
        except BrokenOff:
            if time.monotonic() > end:
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
