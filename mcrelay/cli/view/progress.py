"""What `send`, `receive` and `trace` share while they run: a clean end on Ctrl-C, and a progress line."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Records Ctrl-C and SIGTERM in `is_set` while its `with` block runs, instead of ending the process."""

    def __init__(self) -> None:
        self.is_set = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


class ProgressLine:
    """A line on standard error that is updated each second, if that is a terminal."""

    def __init__(self, now: float) -> None:
        self._shown = sys.stderr.isatty()
        self._next = now + 1

    def is_due(self, now: float) -> bool:
        """Whether it is time for the next `show`."""
        return self._shown and now >= self._next

    def show(self, now: float, text: str) -> None:
        """Replace the line by `text`."""
        self._next = now + 1
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Erase the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
