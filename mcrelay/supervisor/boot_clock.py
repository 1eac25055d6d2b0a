"""Which boot this is, and for how long it has run."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from mcrelay.reload.trial import BootTime


def moment() -> BootTime:
    """Return the moment that it is."""
    return BootTime(_boot(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
