"""What a process is not to do although its user may: write to files, or signal others (landlock(7))."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)

# linux/landlock.h, and the numbers that all architectures share.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_VERSION = 1 << 0
_WRITE_FILE = 1 << 1
_REMOVE, _MAKE = 0b11 << 4, 0b1111111 << 6
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_SCOPE_SIGNAL = 1 << 1

# What kernels before 5.13 say, those that are told to do without, and filters that do not know it.
_UNKNOWN = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def keep_to_itself() -> bool:
    """Let this process open no file for writing, make and remove none, and signal no other process.

    What is open stays as it is. Return False where the kernel knows nothing of this; raises OSError.
    """
    version = _version()
    if version == 0:
        return False
    ruleset = _called(_CREATE_RULESET, *_attributes(version), 0)
    try:
        _called(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _attributes(version: int) -> tuple[bytes, int]:
    """Return struct landlock_ruleset_attr with all that this version knows to forbid, and its size."""
    files = _WRITE_FILE | _REMOVE | _MAKE
    files |= _REFER if version >= 2 else 0
    files |= _TRUNCATE if version >= 3 else 0
    if version < 6:
        return struct.pack("=Q", files), 8
    return struct.pack("=QQQ", files, 0, _SCOPE_SIGNAL), 24


def _version() -> int:
    try:
        return _called(_CREATE_RULESET, None, 0, _VERSION)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return 0
        raise


def _called(number: int, *arguments: bytes | int | None) -> int:
    words = [one if isinstance(one, bytes) else ctypes.c_long(one or 0) for one in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
