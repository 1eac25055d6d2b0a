"""Puts the programs of the kernel data plane into the kernel."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mcrelay.kernel import bpf
from mcrelay.kernel.btf import GLOBAL_FUNCTIONS, describe
from mcrelay.kernel.layout import LAYOUT
from mcrelay.kernel.object_file import ObjectFile, ObjectFileError, Program
from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain

OBJECT = Path(__file__).with_name(f"relay.bpf{'el' if sys.byteorder == 'little' else 'eb'}.o")
OLDEST_LINUX = (5, 15)
_LICENSE = "Dual MIT/GPL"  # of the programs, for the kernel (bpf_helpers(7))
# The section and the type of each program.
_PROGRAMS = {
    "ingress": ("classifier", bpf.SCHED_CLS),
    "ring_filter": ("socket", bpf.SOCKET_FILTER),
    "clear": ("clearing", bpf.SCHED_CLS),
}


@dataclass(frozen=True, slots=True)
class Programs:
    """The descriptors of the loaded programs."""

    ingress: int
    """For the ingress of a device."""
    ring_filter: int
    """For the packet rings of the workers."""
    clear: int
    """Sets counters to zero; it is run, and attached nowhere."""


def load_programs(maps: Mapping[str, int], path: Path = OBJECT) -> Programs:
    """Load the programs and return their descriptors; `maps` has the descriptor of each map by its name.

    Raises KernelPlaneUnavailable.
    """
    file = _open_object(path)
    try:
        loaded = {
            name: _load(kind, f"mcr_{name}", file.program(section, maps))
            for name, (section, kind) in _PROGRAMS.items()
        }
        return Programs(**loaded)
    except ObjectFileError as error:
        raise _unusable(path, error) from error
    except OSError as error:
        raise KernelPlaneUnavailable(_explain_refusal(error, os.uname().release)) from error


def check_object(path: Path = OBJECT) -> None:
    """Raise KernelPlaneUnavailable if this installation has no program for this machine and these maps."""
    _open_object(path)


def _load(kind: int, name: str, program: Program) -> int:
    """Load a program, with types if it has functions that shall be verified once.

    A kernel that refuses them, or a function by itself, gets the program without types, which takes longer.
    """
    if any(function in GLOBAL_FUNCTIONS for _, function in program.functions):
        with suppress(OSError):
            return _load_with_types(kind, name, program)
    return bpf.load_program(kind, name, program.instructions, _LICENSE)


def _load_with_types(kind: int, name: str, program: Program) -> int:
    octets, functions = describe(program.functions)
    types = bpf.load_types(octets)
    try:
        return bpf.load_program(kind, name, program.instructions, _LICENSE, types, functions)
    finally:
        os.close(types)


def object_hash() -> str:
    """Return a hash of the compiled programs; raises KernelPlaneUnavailable."""
    return hashlib.sha256(_read(OBJECT)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = (
            "it was built without ziglang"
            if sys.byteorder == "little"
            else "there is none for big-endian hosts"
        )
        raise KernelPlaneUnavailable(f"this installation has no compiled program: {why}") from error


def _open_object(path: Path) -> ObjectFile:
    try:
        file = ObjectFile(_read(path))
        if file.section("layout") != LAYOUT:
            raise ObjectFileError("the program is for the maps of another version of mcrelay")
    except ObjectFileError as error:
        raise _unusable(path, error) from error
    return file


def _unusable(path: Path, error: ObjectFileError) -> KernelPlaneUnavailable:
    return KernelPlaneUnavailable(f"{path}: {error}; install mcrelay again")


def _explain_refusal(error: OSError, release: str) -> str:
    """Return why the kernel of a `release` (uname -r) does not load the program."""
    # Distributions add features of newer kernels to older ones, so that the version alone tells nothing.
    version = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if error.errno not in (errno.EPERM, errno.ENOMEM) and version < OLDEST_LINUX:
        oldest = ".".join(map(str, OLDEST_LINUX))
        return f"Linux {release} is older than {oldest}, and refuses the program: {explain(error)}"
    return f"the kernel refuses the program: {explain(error)}"
