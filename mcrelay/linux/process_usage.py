"""CPU time and memory of a process, from /proc/PID/stat (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

from mcrelay.status.process_usage import Usage

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Fields 14, 15 and 24 of proc(5), counted from the closing bracket of the name, which may contain brackets.
_UTIME, _STIME, _RSS = 11, 12, 21


def read_usage(pid: int) -> Usage | None:
    """Return CPU time and memory of a process; None if it has exited or this user may not see it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Usage((int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS, int(fields[_RSS]) * _PAGE)
