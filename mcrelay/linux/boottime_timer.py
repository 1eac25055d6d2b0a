"""A timer of the time since the boot, which goes on while the host is suspended (timer_create(2))."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from collections.abc import Callable

_TIMER = struct.Struct(
    "=4q"
)  # struct itimerspec: interval and first expiration, each seconds and nanoseconds
_SECOND = 1_000_000_000  # nanoseconds

_libc = ctypes.CDLL(None, use_errno=True)


class BoottimeTimer:
    """A timer that expires once after each start. A process has at most one, as it uses SIGALRM.

    Python calls `expired` in the main thread, after the system call in which the process was, or in which it
    was stopped, when the timer expired, and before any other code.
    """

    def __init__(self, expired: Callable[[], None]) -> None:
        """Raises OSError if the kernel has no timer left for this user."""
        self._timer = ctypes.c_void_p()
        signal.signal(signal.SIGALRM, lambda *_: expired())
        _check(_libc.timer_create(time.CLOCK_BOOTTIME, None, ctypes.byref(self._timer)))

    def start(self, nanoseconds: int) -> None:
        """Let the timer expire after this time, and not when it would have expired before."""
        wanted = _TIMER.pack(0, 0, *divmod(nanoseconds, _SECOND))
        _check(_libc.timer_settime(self._timer, 0, wanted, None))


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
