"""What `send` and `receive` do alike while they run: end cleanly on Ctrl-C, and tell how it goes."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Notes Ctrl-C and SIGTERM, instead of ending at once, as long as its `with` block lasts."""

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
    """One line on the terminal that is written anew each second; nothing where stderr is no terminal."""

    def __init__(self, now: float) -> None:
        self._shown = sys.stderr.isatty()
        self._next = now + 1

    def is_due(self, now: float) -> bool:
        """Whether it is time to `show` the next."""
        return self._shown and now >= self._next

    def show(self, now: float, text: str) -> None:
        """Write `text` in place of what stands there."""
        self._next = now + 1
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave no trace of it."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
