"""Reads the compiled programs from their object file (ELF with 64 bits, of either byte order).

A program is a section. Its relocations name the maps whose addresses it loads, and the functions in the
section `.text` that it calls. These functions follow the program where it is loaded.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

INSTRUCTION = 8  # octets
_TEXT = ".text"
_SYMTAB, _REL = 2, 9  # types of sections (elf.h)
_R_BPF_64_64, _R_BPF_64_32 = 1, 10  # an address of 64 bits, a call
_PSEUDO_MAP_FD, _PSEUDO_CALL = 1, 1  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_CALL of linux/bpf.h
_ORDER = "<" if sys.byteorder == "little" else ">"


class ObjectFileError(Exception):
    """The file is not an object file with programs for this machine."""


@dataclass(frozen=True, slots=True)
class _Section:
    name: int
    kind: int
    octets: bytes
    link: int
    target: int


@dataclass(frozen=True, slots=True)
class _Relocation:
    offset: int
    kind: int
    symbol: str
    value: int
    """The value of the symbol: of a function, its offset in `.text`."""


class ObjectFile:
    """An object file. Raises ObjectFileError if it is something else."""

    def __init__(self, octets: bytes) -> None:
        try:
            self._sections = _read_sections(octets)
            names = self._sections[struct.unpack_from(_ORDER + "H", octets, 62)[0]].octets
            self._names = [_name(names, section.name) for section in self._sections]
            self._symbols = self._read_symbols()
        except (struct.error, IndexError, ValueError) as error:
            raise ObjectFileError(f"not an object file for this machine: {error}") from error

    def instructions(self, name: str, maps: Mapping[str, int]) -> bytes:
        """Return the program in a section, with the descriptors of the maps that it names."""
        relocations = self._relocations(name)
        program = bytearray(self._section(name).octets)
        functions = (
            bytearray(self._section(_TEXT).octets)
            if any(relocation.kind == _R_BPF_64_32 for relocation in relocations)
            else bytearray()
        )
        base = len(program) // INSTRUCTION
        for part, found, start in (
            (program, relocations, 0),
            (functions, self._relocations(_TEXT) if functions else [], base),
        ):
            for relocation in found:
                _apply(part, relocation, maps, start, base)
        return bytes(program + functions)

    def _section(self, name: str) -> _Section:
        try:
            return self._sections[self._names.index(name)]
        except ValueError as error:
            raise ObjectFileError(f"the object file has no section {name}") from error

    def _read_symbols(self) -> list[tuple[str, int]]:
        table = next(section for section in self._sections if section.kind == _SYMTAB)
        names = self._sections[table.link].octets
        found = struct.iter_unpack(_ORDER + "IBBHQQ", table.octets)
        return [(_name(names, name), value) for name, _, _, _, value, _ in found]

    def _relocations(self, name: str) -> list[_Relocation]:
        target = self._names.index(name)
        return [
            _Relocation(offset, info & 0xFFFFFFFF, *self._symbols[info >> 32])
            for section in self._sections
            if section.kind == _REL and section.target == target
            for offset, info in struct.iter_unpack(_ORDER + "QQ", section.octets)
        ]


def _apply(part: bytearray, relocation: _Relocation, maps: Mapping[str, int], start: int, base: int) -> None:
    """Apply a relocation to a part that begins at the instruction `start`; functions begin at `base`."""
    code, registers, offset, operand = struct.unpack_from(_ORDER + "BBhi", part, relocation.offset)
    destination = registers & 0x0F if _ORDER == "<" else registers >> 4
    if relocation.kind == _R_BPF_64_64:
        source, operand = _PSEUDO_MAP_FD, maps[relocation.symbol]
    elif relocation.kind == _R_BPF_64_32:
        caller = start + relocation.offset // INSTRUCTION
        function = base + relocation.value // INSTRUCTION + operand + 1
        source, operand = _PSEUDO_CALL, function - caller - 1
    else:
        raise ObjectFileError(f"the object file has a relocation of type {relocation.kind}")
    registers = source << 4 | destination if _ORDER == "<" else destination << 4 | source
    struct.pack_into(_ORDER + "BBhi", part, relocation.offset, code, registers, offset, operand)


def _read_sections(octets: bytes) -> list[_Section]:
    if octets[:5] != b"\x7fELF\x02":
        raise ValueError("no ELF header")
    start = struct.unpack_from(_ORDER + "Q", octets, 40)[0]
    size, count = struct.unpack_from(_ORDER + "HH", octets, 58)
    sections = []
    for index in range(count):
        name, kind, _, _, offset, length, link, target = struct.unpack_from(
            _ORDER + "IIQQQQII", octets, start + index * size
        )
        sections.append(_Section(name, kind, octets[offset : offset + length], link, target))
    return sections


def _name(names: bytes, offset: int) -> str:
    return names[offset : names.index(b"\0", offset)].decode()
