"""The reader of object files finds the programs, with the functions and maps that they name."""

import struct

import pytest

from mcrelay.kernel import layout
from mcrelay.kernel.btf import GLOBAL_FUNCTIONS
from mcrelay.kernel.loader import OBJECT
from mcrelay.kernel.object_file import ObjectFile, ObjectFileError

MAPS = {name: 1000 + index for index, name in enumerate(layout.map_specs(2))}
OCTETS = OBJECT.read_bytes()
CALL, LOAD = 0x85, 0x18  # BPF_JMP | BPF_CALL, BPF_LD | BPF_IMM | BPF_DW
OF_PROGRAM = MAP_DESCRIPTOR = 1  # BPF_PSEUDO_CALL, BPF_PSEUDO_MAP_FD


def instructions(section):
    """Return the code, the source, and the operand of each instruction."""
    program = ObjectFile(OCTETS).program(section, MAPS).instructions
    return [
        (code, registers >> 4, operand)
        for code, registers, _, operand in struct.iter_unpack("=BBhi", program)
    ]


@pytest.mark.parametrize("section", ["classifier", "socket", "clearing"])
def test_a_program_loads_maps_and_calls_functions_that_follow_it(section):
    program = instructions(section)
    loaded = {operand for code, source, operand in program if (code, source) == (LOAD, MAP_DESCRIPTOR)}
    assert loaded <= set(MAPS.values())
    for index, (code, source, operand) in enumerate(program):
        if (code, source) == (CALL, OF_PROGRAM):
            assert 0 < index + 1 + operand < len(program)


def test_all_maps_are_used():
    loaded = {
        operand
        for code, source, operand in instructions("classifier")
        if (code, source) == (LOAD, MAP_DESCRIPTOR)
    }
    assert loaded == set(MAPS.values())


def test_a_function_that_a_program_does_not_call_is_not_in_it():
    assert len(instructions("clearing")) < len(instructions("socket")) < len(instructions("classifier"))


def test_each_function_begins_where_it_is_said_to():
    program = ObjectFile(OCTETS).program("classifier", MAPS)
    starts = dict(program.functions)
    assert starts[0] == "classifier"
    called = {
        index + 1 + operand
        for index, (code, source, operand) in enumerate(instructions("classifier"))
        if (code, source) == (CALL, OF_PROGRAM)
    }
    assert set(starts) == {0, *called}
    assert set(GLOBAL_FUNCTIONS) <= set(starts.values())


def test_a_map_that_this_version_does_not_have_is_an_error():
    with pytest.raises(ObjectFileError, match="the program has a map that is unknown here: own"):
        ObjectFile(OCTETS).program("classifier", {name: 3 for name in MAPS if name != "own"})


def test_another_section_is_an_error():
    with pytest.raises(ObjectFileError, match="has no section nowhere"):
        ObjectFile(OCTETS).program("nowhere", MAPS)


@pytest.mark.parametrize("octets", [b"", b"\x7fELF\x01", OCTETS[:100], b"text" * 100])
def test_other_files_are_an_error(octets):
    with pytest.raises(ObjectFileError, match="not an object file for this machine"):
        ObjectFile(octets)
