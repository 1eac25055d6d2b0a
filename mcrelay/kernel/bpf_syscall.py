"""The system call bpf(2): each function is one command. Descriptors are closed on exec."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

# linux/bpf.h: enum bpf_cmd, bpf_prog_type, bpf_attach_type, and flags.
BPF_MAP_CREATE = 0
BPF_MAP_LOOKUP_ELEM = 1
BPF_MAP_UPDATE_ELEM = 2
BPF_MAP_DELETE_ELEM = 3
BPF_PROG_LOAD = 5
BPF_OBJ_PIN = 6
BPF_OBJ_GET = 7
BPF_PROG_TEST_RUN = 10
BPF_OBJ_GET_INFO_BY_FD = 15
BPF_PROG_QUERY = 16
BPF_MAP_FREEZE = 22
BPF_MAP_LOOKUP_BATCH = 24
BPF_MAP_UPDATE_BATCH = 26
BPF_MAP_DELETE_BATCH = 27
BPF_LINK_CREATE = 28
BPF_LINK_UPDATE = 29
BPF_LINK_DETACH = 34

BPF_F_NO_PREALLOC = 1 << 0  # of a map
BPF_F_MMAPABLE = 1 << 10  # of a map
BPF_F_REPLACE = 1 << 2  # of the update of a link
BPF_F_BEFORE = 1 << 3  # of the creation of a link

_NAME_SIZE = 16  # BPF_OBJ_NAME_LEN, with the final zero
_LOG_SIZE = 1 << 20  # bytes
# Program, result, sizes, pointers, repetitions, duration, and sizes and pointers of the context.
_PROGRAM_RUN = struct.Struct("=4I2Q4I2Q")

# Device, kind, flags twice, programs, their number, their flags, links, their flags, revision.
_QUERY = struct.Struct("=4IQIIQQQQ")
_MAX_LINKS = 64  # at a device (BPF_MPROG_MAX)
_INFO_SIZE = 32  # bytes, of the info of an object that are of interest

# asm/unistd.h, __NR_bpf; glibc has no function for it.
_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "ppc64": 361,
    "s390x": 351,
}

_libc = ctypes.CDLL(None, use_errno=True)


class MapType(IntEnum):
    """The types of maps that mcrelay uses (enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    ARRAY_OF_MAPS = 12


class ProgramType(IntEnum):
    """The types of programs that mcrelay uses (enum bpf_prog_type)."""

    SOCKET_FILTER = 1
    SCHED_CLS = 3


class AttachType(IntEnum):
    """Where a link runs a program (enum bpf_attach_type). Since Linux 6.6."""

    TCX_INGRESS = 46


def bpf(command: int, attributes: bytes | bytearray) -> int:
    """Call bpf(2) with a union bpf_attr, which the kernel may write if it is a bytearray; raises OSError."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {platform.machine()} is not known")
    buffer = attributes if isinstance(attributes, bytearray) else bytearray(attributes)
    words = (number, command, address_of(buffer), len(buffer))
    result = int(_libc.syscall(*map(ctypes.c_long, words)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def address_of(buffer: bytearray | memoryview) -> int:
    """Return where the bytes of a buffer lie. It must live and keep its size while the kernel uses it."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def create_map(
    kind: MapType, name: str, key_size: int, value_size: int, entries: int, flags: int = 0, inner: int = 0
) -> int:
    """Return a descriptor of a new map. Sizes are in bytes.

    `inner` is the descriptor of a map like those that a map of maps holds. Needs CAP_BPF; raises OSError.
    """
    return bpf(
        BPF_MAP_CREATE,
        struct.pack("=6II16s", kind, key_size, value_size, entries, flags, inner, 0, _name(name)),
    )


def load_program(kind: ProgramType, name: str, instructions: bytes) -> int:
    """Return a descriptor of a program, whose licence is GPL.

    Needs CAP_BPF, and CAP_NET_ADMIN for the type SCHED_CLS. Raises OSError, whose text has the last lines of
    the verifier.
    """
    code, licence = bytearray(instructions), bytearray(b"GPL\0")

    def load(level: int, log: bytearray) -> int:
        return bpf(
            BPF_PROG_LOAD,
            struct.pack(
                "=2I2Q2IQII16s",
                kind,
                len(code) // 8,
                address_of(code),
                address_of(licence),
                level,
                len(log) if level else 0,
                address_of(log) if level else 0,
                0,
                0,
                _name(name),
            ),
        )

    try:
        return load(0, bytearray(1))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        log = bytearray(_LOG_SIZE)
        try:
            return load(1, log)
        except OSError as refused:
            lines = log.rstrip(b"\0").decode(errors="replace").splitlines()
            raise OSError(refused.errno, "; ".join([refused.strerror or "", *lines[-3:]])) from None


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """What a program returned for the last of some runs, the packet it left, and the mean time of a run."""

    result: int
    packet: bytes
    context: bytes
    duration_ns: int


def run_program(
    program: int, packet: bytes, room: int = 256, context: bytes = b"", times: int = 1
) -> ProgramRun:
    """Run a program for a packet, which may grow by `room` bytes, and for a context (struct __sk_buff).

    Raises OSError.
    """
    data, result = bytearray(packet), bytearray(len(packet) + room)
    before, after = bytearray(context), bytearray(len(context))
    attributes = bytearray(
        _PROGRAM_RUN.pack(
            program,
            0,
            len(data),
            len(result),
            address_of(data),
            address_of(result),
            times,
            0,
            len(before),
            len(after),
            address_of(before) if context else 0,
            address_of(after) if context else 0,
        )
    )
    bpf(BPF_PROG_TEST_RUN, attributes)
    returned = _PROGRAM_RUN.unpack(attributes)
    return ProgramRun(returned[1], bytes(result[: returned[3]]), bytes(after), returned[7])


def pin(descriptor: int, path: Path) -> None:
    """Give an object a name in a bpf file system, where it lives on without a process; raises OSError."""
    name = bytearray(os.fsencode(path) + b"\0")
    bpf(BPF_OBJ_PIN, struct.pack("=QII", address_of(name), descriptor, 0))


def get(path: Path) -> int:
    """Return a descriptor of a pinned object, whose file must be readable and writable; raises OSError."""
    name = bytearray(os.fsencode(path) + b"\0")
    return bpf(BPF_OBJ_GET, struct.pack("=QII", address_of(name), 0, 0))


def freeze(map_descriptor: int) -> None:
    """Let only programs write a map from now on, so that any process may have a descriptor of it.

    A descriptor that is read-only by itself (BPF_F_RDONLY) could not be mapped. Raises OSError.
    """
    bpf(BPF_MAP_FREEZE, struct.pack("=I", map_descriptor))


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link, the program that it runs, and the number that its device has in whatever namespace it is now.

    A link whose device has gone has the number 0.
    """

    link_id: int
    program_id: int
    ifindex: int


def link_create(program: int, ifindex: int, kind: AttachType, flags: int = 0) -> int:
    """Return a descriptor of a link, which runs a program at a device.

    It lives until its last descriptor and its pin are gone. Raises OSError: EINVAL before Linux 6.6.
    """
    return bpf(BPF_LINK_CREATE, struct.pack("=4I16x16x", program, ifindex, kind, flags))


def link_update(link: int, program: int) -> None:
    """Let a link run another program from the next packet on.

    Raises OSError: ENOLINK if the device is gone.
    """
    bpf(BPF_LINK_UPDATE, struct.pack("=4I", link, program, 0, 0))


def link_detach(link: int) -> None:
    """End a link for all who hold it; raises OSError."""
    bpf(BPF_LINK_DETACH, struct.pack("=I", link))


def link_info(link: int) -> LinkInfo:
    """Return what a link runs, and where; raises OSError."""
    return LinkInfo(*struct.unpack_from("=4x2I4xI", _info(link)))  # struct bpf_link_info, of the type tcx


def program_id(program: int) -> int:
    """Return the number by which the kernel and bpftool(8) know a program."""
    return int(struct.unpack_from("=4xI", _info(program))[0])


def links_at(ifindex: int, kind: AttachType) -> list[int]:
    """Return the IDs of the links at a device of this network namespace, in the order in which they run.

    A program that runs there without a link has the ID 0. Needs CAP_NET_ADMIN; raises OSError: ENODEV if the
    device does not exist.
    """
    programs, links = bytearray(4 * _MAX_LINKS), bytearray(4 * _MAX_LINKS)
    attributes = bytearray(
        _QUERY.pack(ifindex, kind, 0, 0, address_of(programs), _MAX_LINKS, 0, 0, address_of(links), 0, 0)
    )
    bpf(BPF_PROG_QUERY, attributes)
    count = _QUERY.unpack(attributes)[5]
    return list(struct.unpack_from(f"={count}I", links))


def _info(descriptor: int) -> bytearray:
    info = bytearray(_INFO_SIZE)
    bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", descriptor, len(info), address_of(info)))
    return info


def _name(name: str) -> bytes:
    return name.encode()[: _NAME_SIZE - 1]
