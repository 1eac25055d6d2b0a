"""Shows lines on the terminal, and refreshes them periodically."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

from mcrelay.cli import session
from mcrelay.cli.view.terminal import is_drawable
from mcrelay.client.connection import UNREACHABLE

CLEAR, TOP, REST_OF_LINE, REST_OF_SCREEN = "\033[2J", "\033[H", "\033[K", "\033[J"  # ECMA-48
CUT, WRAP = "\033[?7l", "\033[?7h"  # lines that are too long are cut or wrapped (DECAWM of the VT100)


def refresh(fetch: Callable[[], Sequence[str]], seconds: float) -> None:
    """Show the lines that `fetch` returns, every `seconds`, until Ctrl-C.

    Raises an error of UNREACHABLE if the first call of `fetch` raises it. Shows the errors of later calls, as
    the daemon may be restarting.
    """
    _show(fetch(), is_first=True)
    due = time.monotonic()
    while True:
        due = max(due + seconds, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            lines = fetch()
        except UNREACHABLE as error:
            lines = [f"{session.explain(error)} (trying again every {seconds:g} s)"]
        _show(lines, is_first=False)


def _show(lines: Sequence[str], is_first: bool) -> None:
    """Write the lines. On a terminal, they replace the previous lines."""
    if not is_drawable():
        print(*lines, sep="\n", flush=True)
        return
    height = os.get_terminal_size(sys.stdout.fileno()).lines or len(lines) + 1
    if len(lines) >= height:
        hidden = len(lines) - (height - 2)
        lines = [*lines[: height - 2], f"({hidden:,} more lines do not fit this terminal)"]
    text = "".join(f"{line}{REST_OF_LINE}\n" for line in lines)
    print((CLEAR if is_first else "") + CUT + TOP + text + REST_OF_SCREEN + WRAP, end="", flush=True)
