"""The layouts in program/layout.h are those of layout.py, and the drop reasons those of the model."""

import re

import pytest

from mcrelay.kernel import layout
from mcrelay.kernel.loader import OBJECT
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import Drop, Scope, drops_of
from mcrelay.model.near_misses import NearMiss
from mcrelay.model.send_errors import PathFault

SOURCE = "".join(path.read_text() for path in sorted(OBJECT.with_name("program").iterdir()))
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
HOT_OF = {"LINK": LINKS, "RULE": RULES, "OUTPUT": OUTPUTS}


def number(name):
    """Return the value of a #define."""
    value = re.search(rf"^#define {name} (\S+)", SOURCE, re.MULTILINE)[1]
    return int(value) if value.isdigit() else enumeration("hot")[value]


def enumeration(name):
    """Return the names of an enum with their values."""
    values, following = {}, 0
    body = re.search(rf"^enum {name} \{{([^}}]*)\}};", SOURCE, re.MULTILINE)[1]
    for item in re.findall(r"\w[^,]*", re.sub(r"//.*", "", body)):
        key, _, value = (part.strip() for part in item.partition("="))
        following = eval(value, {}, values) if value else following
        values[key] = following
        following += 1
    return values


def size(name):
    """Return the octets of a struct, and its alignment."""
    octets, alignment = 0, 1
    body = re.search(rf"^struct {name} \{{\n(.*?)^\}};", SOURCE, re.MULTILINE | re.DOTALL)[1]
    for kind, fields in re.findall(r"^\t(struct \w+|u\d+) ([^;]+);", body, re.MULTILINE):
        width, aligned = size(kind.split()[1]) if kind.startswith("struct") else (SIZES[kind],) * 2
        for count in re.findall(r"\w+(?:\[(\w+)\])?", re.sub(r"\s", "", fields).replace(",", " ")):
            octets = -(-octets // aligned) * aligned
            octets += width * (1 if not count else int(count) if count.isdigit() else number(count))
        alignment = max(alignment, aligned)
    return -(-octets // alignment) * alignment, alignment


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("flow_key", layout.FLOW_KEY),
        ("headers", layout.HEADERS),
        ("output", layout.OUTPUT),
        ("flow", layout.FLOW),
        ("chunk", layout.CHUNK),
        ("endpoint", layout.ENDPOINT),
        ("address_key", layout.ADDRESS_KEY),
        ("address", layout.ADDRESS),
    ],
)
def test_a_struct_has_as_many_octets_in_both(name, struct):
    assert size(name)[0] == struct.size


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAYOUT_VERSION", layout.LAYOUT_VERSION),
        ("INLINE_OUTPUTS", layout.INLINE_OUTPUTS),
        ("CHUNK_OUTPUTS", layout.CHUNK_OUTPUTS),
        ("SEGMENT_SHIFT", layout.SEGMENT.bit_length() - 1),
        ("SEGMENT_MASK", layout.SEGMENT - 1),
        ("COLD_COLUMNS", layout.COLD_COLUMNS),
        ("ADDRESS_FACTOR", layout.ADDRESS_FACTOR),
        ("ADDRESS_SHIFT", layout.ADDRESS_SHIFT),
        ("COLD_SHIFT", layout.COLD_COLUMNS.bit_length() - 1),
        ("LAST_ERROR_TIME", layout.COLD[id(OUTPUTS)].index("last_error_time")),
        ("LAST_ERROR", layout.COLD[id(OUTPUTS)].index("last_error")),
    ],
)
def test_a_limit_is_the_same_in_both(name, value):
    assert number(name) == value


def test_the_program_sends_to_as_many_outputs_as_a_flow_may_have():
    chunks = int(re.search(r"REPEAT_(\d+)\(if \(next\)", SOURCE)[1])
    assert layout.INLINE_OUTPUTS + chunks * layout.CHUNK_OUTPUTS >= layout.MAX_OUTPUTS


def test_flags_are_the_same_in_both():
    for name in ("flow_flags", "output_flags", "address_flags"):
        for flag, value in enumeration(name).items():
            assert getattr(layout, flag) == value


def test_columns_are_the_same_in_both():
    for table in HOT_OF.values():
        assert layout.HOT[id(table)][:2] == ("packets", "octets")
    names = re.findall(r"^#define ((?:LINK|RULE|OUTPUT)_\w+) HOT_\d", SOURCE, re.MULTILINE)
    assert len(names) == sum(len(layout.HOT[id(table)]) - 2 for table in HOT_OF.values())
    for name in names:
        owner, _, column = name.partition("_")
        assert layout.HOT[id(HOT_OF[owner])][number(name)] == column.lower()
    misses = {miss.name: miss.columns[0] for miss in NearMiss}
    for name, index in enumeration("cold_of_input").items():
        assert layout.COLD[id(RULES)][index] == misses.get(name, name.lower())
        if index < len(layout.COLD[id(LINKS)]):
            assert layout.COLD[id(LINKS)][index] == name.lower()
    for name, index in enumeration("cold_of_output").items():
        column = layout.COLD[id(OUTPUTS)][index]
        if name == "FIRST_FAULT":
            assert layout.COLD[id(OUTPUTS)][index : index + len(PathFault)] == tuple(map(str, PathFault))
        else:
            assert column.lower() == name.removeprefix("ERROR_").lower()


def test_columns_are_columns_of_the_model_and_fit_a_cell():
    for table in HOT_OF.values():
        hot, cold = layout.HOT[id(table)], layout.COLD[id(table)]
        assert set(hot) | set(cold) - {""} <= set(table.columns)
        assert not set(hot) & set(cold)
        assert len(hot) <= layout.HOT_COLUMNS
        assert len(cold) <= layout.COLD_COLUMNS


def test_every_drop_reason_is_counted_unless_only_workers_have_it():
    of_workers = {Drop.STALE, Drop.OVERRUN, Drop.SEND_ERROR}  # send errors have columns of their own
    for scope, table in ((Scope.LINK, LINKS), (Scope.RULE, RULES), (Scope.OUTPUT, OUTPUTS)):
        counted = set(layout.HOT[id(table)]) | set(layout.COLD[id(table)])
        assert {drop for drop in drops_of(scope) if drop not in counted} <= of_workers


def test_the_memory_of_a_run_is_large_enough():
    body = re.search(r"^struct scratch \{\n(.*?)^\};", SOURCE, re.MULTILINE | re.DOTALL)[1]
    assert number("MAX_TAIL") + 512 <= layout.SCRATCH_OCTETS
    assert "octets[MAX_TAIL]" in body


def test_cells_and_rows_are_turned_into_each_other():
    for table in HOT_OF.values():
        for row in (0, 1, table.rows - 1):
            assert layout.table_row(layout.cell(table, row)) == (table, row)
    assert layout.cell(OUTPUTS, OUTPUTS.rows - 1) == layout.CELLS - 1
