"""The system call bpf(2): maps, programs, and pinned objects. It takes CAP_BPF, and programs CAP_NET_ADMIN.

Each function raises OSError. A map or program lives as long as a descriptor or a pin refers to it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from mcrelay.model.links import LOOPBACK_IFINDEX

# The number of the system call (asm/unistd.h of each architecture).
_NUMBERS = {"x86_64": 321, "ppc64le": 361, "ppc64": 361, "s390x": 351}
_GENERIC_NUMBER = 280  # asm-generic/unistd.h: arm64, riscv64, loongarch64

# Commands, types and flags of linux/bpf.h
_MAP_CREATE, _PROG_LOAD, _OBJ_PIN, _OBJ_GET = 0, 5, 6, 7
_PROG_TEST_RUN, _OBJ_GET_INFO, _BTF_LOAD, _MAP_FREEZE = 10, 15, 18, 22
HASH, ARRAY, PERCPU_ARRAY, ARRAY_OF_MAPS = 1, 2, 6, 12
SOCKET_FILTER, SCHED_CLS = 1, 3
NO_PREALLOC, MMAPABLE = 1 << 0, 1 << 10
_RDONLY = 1 << 3
_FUNCTION_OCTETS = 8  # of a struct bpf_func_info

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class MapSpec:
    """The definition of a map. A map of maps holds maps like `inner`."""

    name: str
    kind: int
    key_octets: int
    value_octets: int
    entries: int
    flags: int = 0
    inner: MapSpec | None = None


def create_map(spec: MapSpec, inner: int = 0) -> int:
    """Create a map and return its descriptor; `inner` is the descriptor of a map like `spec.inner`."""
    sizes = (spec.kind, spec.key_octets, spec.value_octets, spec.entries, spec.flags, inner, 0)
    return call(_MAP_CREATE, struct.pack("=7I16s", *sizes, spec.name.encode()[:15]))


def load_types(octets: bytes) -> int:
    """Load type information (BTF) and return its descriptor."""
    types = ctypes.create_string_buffer(octets, len(octets))
    return call(_BTF_LOAD, struct.pack("=QQIII", ctypes.addressof(types), 0, len(octets), 0, 0))


def load_program(
    kind: int, name: str, instructions: bytes, license_name: str, types: int = 0, functions: bytes = b""
) -> int:
    """Load a program and return its descriptor. The text of the error has what the verifier says.

    `types` is the descriptor of type information about the functions in an array of struct bpf_func_info.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    described = ctypes.create_string_buffer(functions, len(functions))
    terms = ctypes.create_string_buffer(license_name.encode())
    for log_octets in (0, 1 << 24):  # the log is written only if the program is refused
        log = ctypes.create_string_buffer(max(log_octets, 1))
        attributes = struct.pack(
            "=IIQQIIQII16sIIIIQI4x",
            *(kind, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(terms)),
            *((1, log_octets, ctypes.addressof(log)) if log_octets else (0, 0, 0)),
            *(0, 0, name.encode()[:15], 0, 0),
            *(types, _FUNCTION_OCTETS, ctypes.addressof(described), len(functions) // _FUNCTION_OCTETS),
        )
        try:
            return call(_PROG_LOAD, attributes)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EINVAL, errno.E2BIG):
                raise
            refusal = error
    lines = log.value.decode(errors="replace").strip().splitlines()
    raise OSError(refusal.errno, f"{refusal.strerror}: {' / '.join(lines[-3:])}")


def run_program(
    descriptor: int, packet: bytes, ifindex: int = LOOPBACK_IFINDEX, repeat: int = 1
) -> tuple[int, bytes, int]:
    """Run a program of tc on a packet (BPF_PROG_TEST_RUN), as if a device had received it.

    Return what the program returns, the packet after it, and the time of a run in nanoseconds.
    """
    data, out = ctypes.create_string_buffer(packet, len(packet)), ctypes.create_string_buffer(1 << 16)
    context = ctypes.create_string_buffer(192)
    struct.pack_into("=I", context, 40, ifindex)  # of struct __sk_buff
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQQIIIIQQ",
            *(descriptor, 0, len(packet), len(out), ctypes.addressof(data), ctypes.addressof(out)),
            *(repeat, 0, len(context), 0, ctypes.addressof(context), 0),
        )
    )
    call_in_place(_PROG_TEST_RUN, attributes)
    result, octets = struct.unpack_from("=I4xI", attributes, 4)
    duration = struct.unpack_from("=I", attributes, 36)[0]
    return result, out.raw[:octets], duration


def pin(descriptor: int, path: Path) -> None:
    """Give a map or program a name in a file system of type bpf."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    call(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), descriptor, 0))


def get(path: Path, is_read_only: bool = False) -> int:
    """Return a descriptor of a pinned map or program; with `is_read_only`, it cannot write the map."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return call(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, _RDONLY if is_read_only else 0))


def freeze(descriptor: int) -> None:
    """Let only programs write a map from now on, so that any process may have a descriptor of it, and map it.

    A descriptor that cannot write (BPF_F_RDONLY) cannot be mapped. Since Linux 5.2.
    """
    call(_MAP_FREEZE, struct.pack("=I", descriptor))


def program_id(descriptor: int) -> int:
    """Return the number by which the kernel and bpftool(8) know a program."""
    return int(struct.unpack("=4xI", info(descriptor, 8))[0])  # struct bpf_prog_info


def map_id(descriptor: int) -> int:
    """Return the number by which the kernel knows a map."""
    return int(struct.unpack("=4xI", info(descriptor, 8))[0])  # struct bpf_map_info


def info(descriptor: int, octets: int) -> bytes:
    """Return the first octets of what the kernel tells about a program, map or link."""
    answer = ctypes.create_string_buffer(octets)
    call(_OBJ_GET_INFO, struct.pack("=IIQ", descriptor, octets, ctypes.addressof(answer)))
    return answer.raw


def call(command: int, attributes: bytes) -> int:
    """Give the kernel a command with a union bpf_attr, and return its answer."""
    return call_in_place(command, ctypes.create_string_buffer(attributes, len(attributes)))


def call_in_place(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """Do what `call` does; the kernel may write into the attributes."""
    number = _NUMBERS.get(os.uname().machine, _GENERIC_NUMBER)
    words = (command, ctypes.addressof(attributes), len(attributes))
    result = int(_libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, words)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
