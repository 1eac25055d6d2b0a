"""CPU time, memory and state of a process, from /proc/PID/stat (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

from mcrelay.status.process_usage import Usage

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Fields 3, 14, 15 and 24 of proc(5), from the closing bracket of the name on, which may contain brackets.
_STATE, _UTIME, _STIME, _RSS = 0, 11, 12, 21


def read_usage(pid: int) -> Usage | None:
    """Return CPU time and memory of a process; None if it has exited or this user may not see it."""
    if not (fields := _read_fields(pid)):
        return None
    return Usage((int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS, int(fields[_RSS]) * _PAGE)


def read_run_state(pid: int) -> tuple[str, int]:
    """Return the state of a process, a letter as ps(1) shows it, and its CPU time in ticks of the clock.

    The letter is empty if the process has exited or this user may not see it.
    """
    fields = _read_fields(pid)
    return (fields[_STATE], int(fields[_UTIME]) + int(fields[_STIME])) if fields else ("", 0)


def _read_fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
