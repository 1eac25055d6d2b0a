"""Where a daemon keeps what outlives it: a directory in a bpf file system, which it locks with flock(2).

    /sys/fs/bpf/mcrelay/run_mcrelay-4d1c9a3e-1     run directory, its hash, cookie of the network namespace
    /run/mcrelay/bpf/run_mcrelay-4d1c9a3e-1        if a bpf file system is mounted on <run directory>/bpf

No name has a dot, which the kernel refuses in this file system.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import struct
from pathlib import Path

from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain
from mcrelay.linux.bpf_file_system import is_bpf_file_system, mount_bpf_file_system
from mcrelay.linux.constants import SO_NETNS_COOKIE

BPF_FILE_SYSTEM = Path("/sys/fs/bpf")
_PARENT, _IN_RUN_DIRECTORY = "mcrelay", "bpf"
_MAX_WORDS = 100  # characters


def find_parent(run_directory: Path, file_system: Path = BPF_FILE_SYSTEM) -> Path:
    """Return where daemons have their directories; raises KernelPlaneUnavailable.

    A bpf file system on <run directory>/bpf comes first: only root may enter /sys/fs/bpf of most hosts.
    """
    own = run_directory / _IN_RUN_DIRECTORY
    if is_bpf_file_system(own):
        return own
    if is_bpf_file_system(file_system):
        return file_system / _PARENT
    raise KernelPlaneUnavailable(
        f"no bpf file system is mounted on {file_system}: run `mount -t bpf bpf {file_system}`, or give the"
        " container that of its host"
    )


def mount_if_missing(run_directory: Path, file_system: Path = BPF_FILE_SYSTEM) -> None:
    """Mount a bpf file system if there is none, and if CAP_SYS_ADMIN permits it, as tc(8) does."""
    try:
        place = os.open(file_system, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # find_parent says what is missing
    try:
        fcntl.flock(place, fcntl.LOCK_EX)  # a second daemon would mount over the first one's pins
        find_parent(run_directory, file_system)
    except KernelPlaneUnavailable:
        try:
            mount_bpf_file_system(file_system)
        except OSError:
            pass  # as above
    finally:
        os.close(place)


def daemon_name(run_directory: Path) -> str:
    """Return the name of a daemon's directory, which no other run directory or network namespace has."""
    path = os.fsencode(run_directory.absolute())
    words = re.sub(b"[^A-Za-z0-9]+", b"_", path).strip(b"_")[-_MAX_WORDS:].decode()
    return f"{words}-{hashlib.sha256(path).hexdigest()[:8]}-{namespace_cookie()}"


def namespace_cookie() -> int:
    """Return the number of this network namespace. No other one gets it before the host restarts."""
    with socket.socket(socket.AF_UNIX) as asked:
        return int(struct.unpack("=Q", asked.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])


def lock(directory: Path) -> int:
    """Make a daemon's directory, and return a descriptor that locks it; raises KernelPlaneUnavailable."""
    try:
        while True:
            directory.parent.mkdir(mode=0o755, exist_ok=True)
            try:
                directory.mkdir(mode=0o700, exist_ok=True)
            except FileNotFoundError:
                continue  # another daemon has just removed the parent
            descriptor = lock_existing(directory)
            if descriptor is not None:  # else it has just been removed
                return descriptor
    except BlockingIOError:
        raise KernelPlaneUnavailable(f"another daemon uses {directory}") from None
    except OSError as error:
        raise KernelPlaneUnavailable(f"cannot use {directory}: {explain(error)}") from error


def lock_existing(directory: Path) -> int | None:
    """Return a descriptor that locks a directory, None if there is no such directory.

    Raises OSError: BlockingIOError if another process has locked it.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), directory.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
