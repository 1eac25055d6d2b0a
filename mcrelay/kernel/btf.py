"""Types of the functions of a program (BTF), for those that the verifier shall verify once.

Without types, the verifier follows every call of a function anew: 64 outputs are 64 times the same code. With
types, it verifies a global function apart, for any arguments of these types. The types say no more than that.

Up to Linux 6.1, the memory of such an argument cannot be the key of a map, so the kernel refuses the types.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mcrelay.kernel import layout

# linux/btf.h
_MAGIC, _VERSION = 0xEB9F, 1
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_INT, _PTR, _STRUCT, _FUNC, _FUNC_PROTO = 1, 2, 4, 12, 13
_KIND_SHIFT, _GLOBAL = 24, 1
_INT_BITS = 32

_CONTEXT = "__sk_buff"  # the kernel knows it by this name; its size does not matter
_SIZES = {_CONTEXT: 192, "scratch": layout.SCRATCH_OCTETS}
# The functions to verify once, and their parameters: pointers to structs, or a number.
GLOBAL_FUNCTIONS = {"send_chunk": (_CONTEXT, "scratch", "int"), "add_part": (_CONTEXT, "scratch")}


class _Types:
    """Types as they are made, numbered from 1."""

    def __init__(self) -> None:
        self.types: list[bytes] = []
        self.names = b"\0"
        self.int = self.add("int", _INT << _KIND_SHIFT, _INT_BITS // 8, struct.pack("=I", _INT_BITS))
        self._pointers: dict[str, int] = {}

    def add(self, name: str, info: int, size_or_type: int, more: bytes = b"") -> int:
        """Add a type and return its number."""
        self.types.append(_TYPE.pack(self.name(name), info, size_or_type) + more)
        return len(self.types)

    def name(self, name: str) -> int:
        """Add a name and return its offset."""
        if not name:
            return 0
        self.names += name.encode() + b"\0"
        return len(self.names) - len(name) - 1

    def pointer(self, name: str) -> int:
        """Return the number of a pointer to a struct, of which only name and size are told."""
        if name not in self._pointers:
            target = self.add(name, _STRUCT << _KIND_SHIFT, _SIZES[name])
            self._pointers[name] = self.add("", _PTR << _KIND_SHIFT, target)
        return self._pointers[name]

    def function(self, name: str) -> int:
        """Return the number of a function. One that is not global is described as if it had no parameters."""
        kinds = [self.int if kind == "int" else self.pointer(kind) for kind in GLOBAL_FUNCTIONS.get(name, ())]
        parameters = b"".join(struct.pack("=II", self.name("parameter"), kind) for kind in kinds)
        info = _FUNC_PROTO << _KIND_SHIFT | len(kinds)
        is_global = name in GLOBAL_FUNCTIONS
        return self.add(
            name, _FUNC << _KIND_SHIFT | is_global * _GLOBAL, self.add("", info, self.int, parameters)
        )


def describe(functions: Sequence[tuple[int, str]]) -> tuple[bytes, bytes]:
    """Return the types of functions, and an array of struct bpf_func_info.

    `functions` has the number of the first instruction and the name of each, the program itself included.
    """
    types = _Types()
    described = b"".join(struct.pack("=II", at, types.function(name)) for at, name in sorted(functions))
    octets = b"".join(types.types)
    sizes = (_HEADER.size, 0, len(octets), len(octets), len(types.names))
    return _HEADER.pack(_MAGIC, _VERSION, 0, *sizes) + octets + types.names, described
