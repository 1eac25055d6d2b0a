"""The bpf file system, whose files are programs, maps and links that live without a process."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from mcrelay.linux.constants import BPF_FS_MAGIC, MS_NODEV, MS_NOEXEC, MS_NOSUID

_libc = ctypes.CDLL(None, use_errno=True)


def is_bpf_file_system(path: Path) -> bool:
    """Return whether an existing path lies in a bpf file system; False if it does not exist."""
    answer = (ctypes.c_ulong * 64)()  # more than struct statfs, which begins with the type of the file system
    return _libc.statfs(os.fsencode(path), answer) == 0 and answer[0] & 0xFFFFFFFF == BPF_FS_MAGIC


def mount_bpf_file_system(path: Path) -> None:
    """Mount a new bpf file system, as systemd does at its start. Needs CAP_SYS_ADMIN; raises OSError."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if _libc.mount(b"bpf", os.fsencode(path), b"bpf", ctypes.c_ulong(flags), b"mode=0700") != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
