"""Forbids this process to write files and to signal others, although its user may (landlock(7))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)

# System calls (asm-generic/unistd.h, the same on all architectures) and flags (linux/landlock.h).
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_VERSION = 1 << 0
_WRITE_FILE = 1 << 1
_REMOVE, _MAKE = 0b11 << 4, 0b1111111 << 6
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_SCOPE_SIGNAL = 1 << 1

# From kernels before 5.13, from kernels with Landlock disabled, and from seccomp filters that do not know it.
_UNKNOWN = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def forbid_writing_and_signalling() -> bool:
    """Forbid this process to open files for writing, to create or remove them, and to signal other processes.

    Open files stay usable. Return False if the kernel has no Landlock; raises OSError.
    """
    version = _version()
    if version == 0:
        return False
    ruleset = _syscall(_CREATE_RULESET, *_attributes(version), 0)
    try:
        _syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _attributes(version: int) -> tuple[bytes, int]:
    """Return struct landlock_ruleset_attr with all rights that this version can forbid, and its size."""
    files = _WRITE_FILE | _REMOVE | _MAKE
    files |= _REFER if version >= 2 else 0
    files |= _TRUNCATE if version >= 3 else 0
    if version < 6:
        return struct.pack("=Q", files), 8
    return struct.pack("=QQQ", files, 0, _SCOPE_SIGNAL), 24


def _version() -> int:
    try:
        return _syscall(_CREATE_RULESET, None, 0, _VERSION)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return 0
        raise


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    words = [value if isinstance(value, bytes) else ctypes.c_long(value or 0) for value in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
