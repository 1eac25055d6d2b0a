"""The command line of mcrelay, as this interpreter runs it, and the patience of whoever waits for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

TIMEOUT_S = 20.0  # seconds: far more than anything takes, so that a loaded machine fails no test


class LabError(Exception):
    """Something in the lab did not go as it must; the message says what."""


def mcrelay(*arguments: str, python: str = sys.executable) -> list[str]:
    """Return the command for `mcrelay ARGUMENTS` as it is installed for this or another Python."""
    return [python, "-I", "-m", "mcrelay", *arguments]


def wait_until(condition: Callable[[], object], what: str, seconds: float = TIMEOUT_S) -> None:
    """Return as soon as `condition` holds; a LabError says `what` did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)
