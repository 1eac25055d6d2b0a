"""Reads and drops the capabilities of this process (capabilities(7))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from mcrelay.linux.constants import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
)


class Capability(IntEnum):
    """The capabilities that mcrelay uses, with their numbers (linux/capability.h)."""

    CAP_DAC_READ_SEARCH = 2
    CAP_KILL = 5
    CAP_SETGID = 6
    CAP_SETUID = 7
    CAP_SETPCAP = 8
    CAP_NET_BIND_SERVICE = 10
    CAP_NET_ADMIN = 12
    CAP_NET_RAW = 13
    CAP_BPF = 39


_HEADER_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Privileges:
    """User and groups of a process, and its capability sets as bits."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privs: bool

    def has(self, capability: Capability) -> bool:
        """Return whether the process may use `capability` now."""
        return bool(self.effective >> capability & 1)


def privileges() -> Privileges:
    """Return the privileges of this process, from /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    inheritable, permitted, effective, bounding, ambient = (
        int(fields[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    )
    return Privileges(
        uid=int(fields["Uid"][1]),
        gid=int(fields["Gid"][1]),
        groups=tuple(int(group) for group in fields["Groups"]),
        inheritable=inheritable,
        permitted=permitted,
        effective=effective,
        bounding=bounding,
        ambient=ambient,
        no_new_privs=fields["NoNewPrivs"] == ["1"],
    )


def keep_only(kept: Iterable[Capability]) -> None:
    """Drop every other capability from every set. The process may lack some of `kept`.

    The bounding set stays as it is without CAP_SETPCAP. Raises OSError.
    """
    mask = sum(1 << capability for capability in kept) & privileges().permitted
    limit_bounding_set(mask)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _capset(mask)


def limit_bounding_set(mask: int) -> None:
    """Drop all capabilities except those of `mask` from the bounding set, if CAP_SETPCAP permits it."""
    if not privileges().has(Capability.CAP_SETPCAP):
        return
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if not mask >> capability & 1:
            _prctl(PR_CAPBSET_DROP, capability)


def forbid_new_privileges() -> None:
    """Keep execve(2) from granting a privilege (PR_SET_NO_NEW_PRIVS)."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, *(ctypes.c_ulong(value) for value in (argument, 0, 0, 0))):
        raise _last_error("prctl")


def _capset(mask: int) -> None:
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint32 * 2)(_HEADER_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)  # effective, permitted, inheritable, twice
    if _libc.capset(header, sets):
        raise _last_error("capset")


def _last_error(call: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{call}: {os.strerror(code)}")
