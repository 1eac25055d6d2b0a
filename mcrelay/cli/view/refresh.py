"""The same question again and again, with the last answer on the screen."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

from mcrelay.cli import session
from mcrelay.cli.view.terminal import is_drawable
from mcrelay.client.connection import UNREACHABLE

CLEAR, TOP, REST_OF_LINE, REST_OF_SCREEN = "\033[2J", "\033[H", "\033[K", "\033[J"  # ECMA-48
CUT, WRAP = "\033[?7l", "\033[?7h"  # what becomes of lines that are too long: DECAWM of the VT100


def refresh(ask: Callable[[], Sequence[str]], seconds: float) -> None:
    """Show the lines that `ask` returns, every so many seconds, until Ctrl-C.

    A daemon that restarts is waited for; one that could not be asked at the first time is not, and the error
    (one of `UNREACHABLE`) is the caller's.
    """
    _show(ask(), is_first=True)
    due = time.monotonic()
    while True:
        due = max(due + seconds, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            lines = ask()
        except UNREACHABLE as error:
            lines = [f"{session.explain(error)} (asking again every {seconds:g} s)"]
        _show(lines, is_first=False)


def _show(lines: Sequence[str], is_first: bool) -> None:
    """Write the lines: over the last ones on a terminal, below them elsewhere."""
    if not is_drawable():
        print(*lines, sep="\n", flush=True)
        return
    height = os.get_terminal_size(sys.stdout.fileno()).lines or len(lines) + 1
    if len(lines) >= height:
        hidden = len(lines) - (height - 2)
        lines = [*lines[: height - 2], f"({hidden:,} more lines do not fit this terminal)"]
    text = "".join(f"{line}{REST_OF_LINE}\n" for line in lines)
    print((CLEAR if is_first else "") + CUT + TOP + text + REST_OF_SCREEN + WRAP, end="", flush=True)
