"""Small programs for the kernel, assembled by hand, in place of the real one."""

import struct

from mcrelay.kernel import bpf
from mcrelay.kernel.bpf import MapSpec
from mcrelay.kernel.objects import Objects

ETHERTYPE = 0x88B5  # for local experiments (IEEE 802)
COUNTS = "counts"  # the name of the map, an array whose first entry is the number of packets
KEY, COUNT = struct.pack("=I", 0), struct.Struct("=Q")
COUNTS_SIZE = 4096  # bytes

_CALL, _EXIT, _LOAD_WORD, _STORE_WORD, _SET, _COPY, _ADD = 0x85, 0x95, 0x61, 0x62, 0xB7, 0xBF, 0x07
_LOAD_MAP, _ATOMIC_ADD, _SKIP_IF_NOT, _SKIP_IF = 0x18, 0xDB, 0x55, 0x15
_SKIP_IF_NEGATIVE, _SKIP_IF_UNEQUAL, _STORE_REGISTER = 0xC5, 0x5D, 0x63
_SHIFT_RIGHT, _AND, _ADD_REGISTER = 0x77, 0x57, 0x0F
_LOOKUP, _CLONE_REDIRECT, _CSUM_UPDATE, _CSUM_LEVEL = 1, 13, 40, 135  # helpers
_CSUM_LEVEL_INC = 1  # BPF_CSUM_LEVEL_INC
_MARK, _PROTOCOL = 8, 16  # offsets in struct __sk_buff
_MAP_DESCRIPTOR = 1  # BPF_PSEUDO_MAP_FD


def _instruction(code, target=0, source=0, offset=0, value=0):
    return struct.pack("=BBhi", code, source << 4 | target, offset, value)


NEXT = _instruction(_SET, 0, value=-1) + _instruction(_EXIT)
"""A program that leaves every packet to the next program."""

DROP = _instruction(_SET, 0, value=2) + _instruction(_EXIT)
"""A program that drops every packet."""


def relay(counts, ifindex):
    """Return a program that counts the frames of ETHERTYPE and sends a copy of each to a device."""
    ethertype = int.from_bytes(ETHERTYPE.to_bytes(2, "big"), "little")
    return b"".join(
        [
            _instruction(_COPY, 6, 1),
            _instruction(_LOAD_WORD, 2, 1, _PROTOCOL),
            _instruction(_SKIP_IF_NOT, 2, offset=13, value=ethertype),
            _instruction(_STORE_WORD, 10, offset=-4),
            _instruction(_COPY, 2, 10),
            _instruction(_ADD, 2, value=-4),
            _instruction(_LOAD_MAP, 1, _MAP_DESCRIPTOR, value=counts),
            _instruction(0),
            _instruction(_CALL, value=_LOOKUP),
            _instruction(_SKIP_IF, offset=2),
            _instruction(_SET, 1, value=1),
            _instruction(_ATOMIC_ADD, 0, 1),
            _instruction(_COPY, 1, 6),
            _instruction(_SET, 2, value=ifindex),
            _instruction(_SET, 3, value=0),
            _instruction(_CALL, value=_CLONE_REDIRECT),
            _instruction(_SET, 0, value=-1),
            _instruction(_EXIT),
        ]
    )


def copy(ifindex):
    """Return a program that sends a copy of every frame to a device."""
    return b"".join(
        [
            _instruction(_SET, 2, value=ifindex),
            _instruction(_SET, 3, value=0),
            _instruction(_CALL, value=_CLONE_REDIRECT),
            NEXT,
        ]
    )


def vouch():
    """Return a program after which the checksum of a frame counts as verified, as by a device."""
    return _instruction(_SET, 2, value=_CSUM_LEVEL_INC) + _instruction(_CALL, value=_CSUM_LEVEL) + NEXT


def remember_sum():
    """Return a program that drops a frame without a sum of its octets (CHECKSUM_COMPLETE), else keeps it."""
    return b"".join(
        [
            _instruction(_COPY, 6, 1),
            _instruction(_SET, 2, value=0),
            _instruction(_CALL, value=_CSUM_UPDATE),
            _instruction(_SKIP_IF_NEGATIVE, offset=3),
            _instruction(_STORE_REGISTER, 6, 0, _MARK),
            NEXT,
            DROP,
        ]
    )


def compare_sum():
    """Return a program that drops a frame that has another sum than `remember_sum` has kept."""
    folds = _fold(0) + _fold(7)
    return b"".join(
        [
            _instruction(_COPY, 6, 1),
            _instruction(_SET, 2, value=0),
            _instruction(_CALL, value=_CSUM_UPDATE),
            _instruction(_SKIP_IF_NEGATIVE, offset=2 + (len(folds) // 8)),
            _instruction(_LOAD_WORD, 7, 6, _MARK),
            folds,
            _instruction(_SKIP_IF_UNEQUAL, 0, 7, offset=2),
            NEXT,
            DROP,
        ]
    )


def _fold(register):
    """Return instructions that add up the halves of 16 bits of a sum."""
    once = [
        _instruction(_COPY, 1, register),
        _instruction(_SHIFT_RIGHT, 1, value=16),
        _instruction(_AND, register, value=0xFFFF),
        _instruction(_ADD_REGISTER, register, 1),
    ]
    return b"".join(3 * once)


def load_relay(ifindex):
    """Return the map and the program, as `open_plane` wants them."""
    counts = bpf.create_map(MapSpec(COUNTS, bpf.ARRAY, 4, 8, COUNTS_SIZE // 8, bpf.MMAPABLE))
    return Objects({COUNTS: counts}, {"ingress": load(relay(counts, ifindex))})


def load(instructions):
    """Return a program for the ingress of a device."""
    return bpf.load_program(bpf.SCHED_CLS, "test", instructions, "GPL")
