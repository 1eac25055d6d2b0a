"""The progress line of `send` and `receive`."""

from __future__ import annotations

import sys


class ProgressLine:
    """A line that is updated every second on standard error, if standard error is a terminal."""

    def __init__(self, now: float) -> None:
        self._shown = sys.stderr.isatty()
        self._next = now + 1

    def is_due(self, now: float) -> bool:
        """Return whether a second has passed since the last `show`."""
        return self._shown and now >= self._next

    def show(self, now: float, text: str) -> None:
        """Replace the line by `text`."""
        self._next = now + 1
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Erase the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
