"""The time slice of this process (sched(7)). With a shorter slice, it waits less for the processor."""

from __future__ import annotations

import ctypes
import os
import struct

from mcrelay.linux.constants import SCHED_OTHER

SLICE_NS = 100_000  # the shortest that the kernel grants

# sched_setattr and sched_getattr, from asm/unistd_64.h and asm-generic/unistd.h
_NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275)}
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")

_libc = ctypes.CDLL(None, use_errno=True)


def ask_for_short_slices() -> bool:
    """Set the shortest time slice; return whether the kernel knows the call.

    From Linux 6.12 on, a process that wakes up does not wait for the end of another one's longer slice. The
    share of the processor stays the same. Needs no privilege.
    """
    if os.uname().machine not in _NUMBERS:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, SCHED_OTHER, 0, nice, 0, SLICE_NS, 0, 0)
    return bool(_libc.syscall(_NUMBERS[os.uname().machine][0], 0, wanted, 0) == 0)


def read_slice() -> int:
    """Return the time slice of this process in nanoseconds, 0 if the kernel does not report it."""
    memory = ctypes.create_string_buffer(_ATTRIBUTES.size)
    number = _NUMBERS.get(os.uname().machine, (0, 0))[1]
    if not number or _libc.syscall(number, 0, memory, _ATTRIBUTES.size, 0):
        return 0
    runtime: int = _ATTRIBUTES.unpack(memory.raw)[5]
    return runtime
