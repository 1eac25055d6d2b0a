"""Puts the programs of the kernel data plane into the kernel."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mcrelay.kernel import bpf
from mcrelay.kernel.btf import GLOBAL_FUNCTIONS, describe
from mcrelay.kernel.object_file import ObjectFile, ObjectFileError, Program
from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain

OBJECT = Path(__file__).with_name(f"relay.bpf{'el' if sys.byteorder == 'little' else 'eb'}.o")
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
    try:
        file = ObjectFile(_read(path))
        loaded = {
            name: _load(kind, f"mcr_{name}", file.program(section, maps))
            for name, (section, kind) in _PROGRAMS.items()
        }
        return Programs(**loaded)
    except ObjectFileError as error:
        raise KernelPlaneUnavailable(f"{path}: {error}; install mcrelay again") from error
    except OSError as error:
        raise KernelPlaneUnavailable(f"the kernel refuses the program: {explain(error)}") from error


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
        raise KernelPlaneUnavailable(
            "this installation has no compiled program: it was built without ziglang"
        ) from error
