"""Reads the compiled programs from their object file (ELF with 64 bits, of either byte order).

A program is a section. Its relocations name the maps whose addresses it loads, and the section of the
functions that it calls. These functions, and those that they call, follow the program where it is loaded; the
kernel refuses one that no instruction reaches.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

INSTRUCTION = 8  # octets
_SYMTAB, _REL = 2, 9  # types of sections (elf.h)
_CALL = 0x85  # BPF_JMP | BPF_CALL of linux/bpf_common.h
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
class _Symbol:
    name: str
    section: int
    value: int
    """Of a function, its offset in its section."""
    size: int


@dataclass(slots=True)
class _Instruction:
    code: int
    destination: int
    source: int
    offset: int
    operand: int

    def pack(self) -> bytes:
        low, high = self.destination, self.source
        registers = high << 4 | low if _ORDER == "<" else low << 4 | high
        return struct.pack(_ORDER + "BBhi", self.code, registers, self.offset, self.operand)


@dataclass(frozen=True, slots=True)
class Program:
    """A program with the functions that it calls."""

    instructions: bytes
    functions: tuple[tuple[int, str], ...]
    """The number of the first instruction and the name of each function, and of the program itself."""


class ObjectFile:
    """An object file. Raises ObjectFileError if it is something else."""

    def __init__(self, octets: bytes) -> None:
        try:
            self._sections = _read_sections(octets)
            names = self._sections[struct.unpack_from(_ORDER + "H", octets, 62)[0]].octets
            self._names = [_name(names, section.name) for section in self._sections]
            self._symbols = self._read_symbols()
        except (struct.error, IndexError, ValueError, StopIteration) as error:
            raise ObjectFileError(f"not an object file for this machine: {error}") from error

    def section(self, name: str) -> bytes:
        """Return the octets of a section; raises ObjectFileError."""
        return self._sections[self._index(name)].octets

    def program(self, name: str, maps: Mapping[str, int]) -> Program:
        """Return the program in a section, with the functions that it calls; raises ObjectFileError.

        `maps` has the descriptors of the maps that the program names.
        """
        main = _Symbol(name, self._index(name), 0, len(self.section(name)))
        placed: dict[_Symbol, int] = {main: 0}
        program: list[_Instruction] = []
        calls: list[tuple[int, _Symbol]] = []
        pending = [main]
        for function in pending:  # grows meanwhile
            placed[function] = len(program)
            for index, called in self._read_function(function, maps, program):
                calls.append((index, called))
                if called not in pending:
                    pending.append(called)
        for index, called in calls:
            program[index].operand = placed[called] - index - 1
        functions = tuple((at, function.name) for function, at in placed.items())
        return Program(b"".join(instruction.pack() for instruction in program), functions)

    def _read_function(
        self, function: _Symbol, maps: Mapping[str, int], program: list[_Instruction]
    ) -> list[tuple[int, _Symbol]]:
        """Append the instructions of a function to a program.

        Return which of them call which function: their indexes in the program, and the functions.
        """
        octets = self._sections[function.section].octets[function.value : function.value + function.size]
        relocations, calls = self._relocations(function.section), []
        for at, (code, registers, offset, operand) in enumerate(struct.iter_unpack(_ORDER + "BBhi", octets)):
            low, high = registers & 0x0F, registers >> 4
            destination, source = (low, high) if _ORDER == "<" else (high, low)
            instruction = _Instruction(code, destination, source, offset, operand)
            place = function.value + at * INSTRUCTION
            symbol = relocations.get(place)
            if code == _CALL and source == _PSEUDO_CALL:
                start = symbol.value if symbol else place + INSTRUCTION
                called = start + operand * INSTRUCTION + (INSTRUCTION if symbol else 0)
                section = symbol.section if symbol else function.section
                calls.append((len(program), self._function(section, called)))
            elif symbol:
                if symbol.name not in maps:
                    raise ObjectFileError(f"the program has a map that is unknown here: {symbol.name}")
                instruction.source, instruction.operand = _PSEUDO_MAP_FD, maps[symbol.name]
            program.append(instruction)
        return calls

    def _function(self, section: int, offset: int) -> _Symbol:
        for symbol in self._symbols:
            if (symbol.section, symbol.value) == (section, offset) and symbol.size:
                return symbol
        raise ObjectFileError(f"the object file has no function at {offset} of {self._names[section]}")

    def _index(self, name: str) -> int:
        try:
            return self._names.index(name)
        except ValueError as error:
            raise ObjectFileError(f"the object file has no section {name}") from error

    def _read_symbols(self) -> list[_Symbol]:
        table = next(section for section in self._sections if section.kind == _SYMTAB)
        names = self._sections[table.link].octets
        return [
            _Symbol(_name(names, name), section, value, size)
            for name, _, _, section, value, size in struct.iter_unpack(_ORDER + "IBBHQQ", table.octets)
        ]

    def _relocations(self, target: int) -> dict[int, _Symbol]:
        """Return the symbol that each relocated instruction of a section names, by its offset."""
        return {
            offset: self._symbols[info >> 32]
            for section in self._sections
            if section.kind == _REL and section.target == target
            for offset, info in struct.iter_unpack(_ORDER + "QQ", section.octets)
        }


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
