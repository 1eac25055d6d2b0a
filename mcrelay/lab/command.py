"""The command line that runs mcrelay with this Python, and a function that waits for a condition."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

TIMEOUT_S = 60.0  # far longer than any wait takes, so that no test fails on a loaded machine


class LabError(Exception):
    """A command or a wait in the lab failed. The message names the command or the condition."""


def mcrelay(*arguments: str, python: str = sys.executable) -> list[str]:
    """Return the command that runs `mcrelay ARGUMENTS` with this or another Python."""
    return [python, "-I", "-m", "mcrelay", *arguments]


def wait_until(condition: Callable[[], object], what: str, seconds: float = TIMEOUT_S) -> None:
    """Wait until `condition` is true. Raises LabError, with `what` in its message, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)
