"""Puts the programs of the kernel data plane into the kernel."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcrelay.kernel import bpf
from mcrelay.kernel.object_file import ObjectFile, ObjectFileError
from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain

OBJECT = Path(__file__).with_name(f"relay.bpf{'el' if sys.byteorder == 'little' else 'eb'}.o")
INGRESS = "classifier"  # the section of the program
_LICENSE = "Dual MIT/GPL"  # of the programs, for the kernel (bpf_helpers(7))


@dataclass(frozen=True, slots=True)
class Programs:
    """The descriptors of the loaded programs."""

    ingress: int


def load_programs(maps: Mapping[str, int], path: Path = OBJECT) -> Programs:
    """Load the programs and return their descriptors; `maps` has the descriptor of each map by its name.

    Raises KernelPlaneUnavailable.
    """
    try:
        instructions = ObjectFile(path.read_bytes()).instructions(INGRESS, maps)
        return Programs(bpf.load_program(bpf.SCHED_CLS, "mcr_ingress", instructions, _LICENSE))
    except FileNotFoundError as error:
        raise KernelPlaneUnavailable(
            "this installation has no compiled program: it was built without ziglang"
        ) from error
    except ObjectFileError as error:
        raise KernelPlaneUnavailable(f"{path}: {error}") from error
    except OSError as error:
        raise KernelPlaneUnavailable(f"the kernel refuses the program: {explain(error)}") from error
