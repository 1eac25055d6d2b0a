"""A clock whose times identify the boot, so that a later process can check a deadline that this one sets."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from mcrelay.reload.trial import BootTime


def read_boot_time() -> BootTime:
    """Return the time now: the ID of the boot, seconds since the boot, and seconds since 1970."""
    return BootTime(_boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
