"""How long a process computes before others have a turn: the shorter, the sooner its own comes (sched(7))."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SLICE = 100_000  # nanoseconds, the shortest that the kernel grants

# asm/unistd_64.h and asm-generic/unistd.h
_NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275)}
_ATTRIBUTES = struct.Struct(
    "=IIQiIQQQ"
)  # struct sched_attr: size, policy, flags, nice, priority, runtime, ...
_SCHED_OTHER = 0

_libc = ctypes.CDLL(None, use_errno=True)


def ask_for_short_slices() -> bool:
    """Ask for turns that are short, and therefore soon; return whether the kernel has understood.

    Who wakes with a shorter slice than the one that runs need not wait for its end (Linux 6.12 and later).
    The share of the processor stays the same, and no privilege is needed.
    """
    if platform.machine() not in _NUMBERS:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, _SCHED_OTHER, 0, nice, 0, SLICE, 0, 0)
    return bool(_libc.syscall(_NUMBERS[platform.machine()][0], 0, wanted, 0) == 0)


def granted() -> int:
    """Return the slice of this process in nanoseconds; 0 where the kernel does not tell."""
    memory = ctypes.create_string_buffer(_ATTRIBUTES.size)
    number = _NUMBERS.get(platform.machine(), (0, 0))[1]
    if not number or _libc.syscall(number, 0, memory, _ATTRIBUTES.size, 0):
        return 0
    runtime: int = _ATTRIBUTES.unpack(memory.raw)[5]
    return runtime
