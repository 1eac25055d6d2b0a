"""A bpf file system for a lab alone, so that what its daemons pin goes with it, however they end."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mcrelay.kernel.location import BPF_FILE_SYSTEM
from mcrelay.lab.command import LabError
from mcrelay.lab.host import NAMESPACES, iproute
from mcrelay.linux.bpf_file_system import mount_bpf_file_system
from mcrelay.linux.constants import CLONE_NEWNS, MNT_DETACH, MS_PRIVATE

_libc = ctypes.CDLL(None, use_errno=True)
_processes: set[int] = set()  # this process, once it has a mount namespace of its own


@contextmanager
def own_bpf_file_system(path: Path = BPF_FILE_SYSTEM) -> Iterator[None]:
    """Show this process, and those that it starts, a new bpf file system in place of that of the machine.

    The process gets a mount namespace of its own for that, and keeps it. Other mounts are shared as before. A
    kernel without bpf(2) has no such directory, and then there is nothing to do. Raises LabError.
    """
    if not path.is_dir():
        yield
        return
    _leave_mount_namespace(path)
    try:
        mount_bpf_file_system(path)
    except OSError as error:
        raise LabError(f"cannot mount a bpf file system on {path}: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(LabError):
            _check(_libc.umount2(os.fsencode(path), MNT_DETACH), f"unmount {path}")


def _leave_mount_namespace(path: Path) -> None:
    """Let no other process see what this one mounts on `path`."""
    if os.getpid() in _processes:
        return
    _share_namespaces()
    mount_point = next(place for place in (path, *path.parents) if place.is_mount())
    _check(_libc.unshare(CLONE_NEWNS), "create a mount namespace")
    # The new mount belongs to the mount that has its directory, and goes where that one is shared.
    private = _libc.mount(b"none", os.fsencode(mount_point), None, ctypes.c_ulong(MS_PRIVATE), None)
    _check(private, f"make {mount_point} private")
    _processes.add(os.getpid())


def _share_namespaces() -> None:
    """Let the network namespaces of this process be seen from outside, by `ip netns` and by the next lab.

    `ip netns add` shares their directory with later mount namespaces, but not with earlier ones.
    """
    if not NAMESPACES.is_mount():
        name = f"mcrelay-{os.getpid()}-first"
        iproute(f"netns add {name}", f"netns delete {name}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise LabError(f"cannot {what}: {os.strerror(ctypes.get_errno())}")
