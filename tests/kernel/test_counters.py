"""The counters of the program are the same row by row and as the memory of a worker."""

import mmap
import os
import random
from array import array

import pytest

from mcrelay.kernel import counters, layout
from mcrelay.kernel.counters import CounterReader
from mcrelay.kernel.layout import COLD_COLUMNS, HOT_COLUMNS, SEGMENT
from mcrelay.model.counters import COUNTERS_SIZE, LINKS, OUTPUTS, RULES

CPUS = 3
TABLES = (LINKS, RULES, OUTPUTS)
IDS = ("links", "rules", "outputs")


def add_segment(reader, name, numbers):
    """Give a reader a segment with these counts, as an array of the program."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, array("Q", numbers).tobytes())
    reader.add(name, descriptor)
    os.close(descriptor)


def any_cell(names, columns):
    """Return counts as the program writes them: nothing at a time that is 0."""
    cell = {name: random.randrange(2**40) * random.choice((0, 1)) for name in names if name}
    if not cell.get("last_time", 1):
        cell["last_source"] = 0
    elif "last_source" in cell:
        cell["last_source"] %= 2**32
    if "last_error" in cell:
        cell["last_error"] %= len(layout.SEND_ERRORS) if cell["last_error_time"] else 1
    return [cell.get(name, 0) for name in names] + [0] * (columns - len(names))


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(counters, "_clock_offset", lambda: 1_000_000)


def test_the_rows_in_use_are_those_with_any_count_of_any_cpu():
    reader, number = CounterReader(CPUS), layout.cell(RULES, 0) // SEGMENT
    hot, cold = [0] * (CPUS * SEGMENT * HOT_COLUMNS), [0] * (SEGMENT * COLD_COLUMNS)
    hot[(2 * SEGMENT + 7) * HOT_COLUMNS + 3] = cold[9 * COLD_COLUMNS + 15] = 1
    add_segment(reader, f"hot-{number}", hot)
    assert list(reader.rows_in_use()) == [(RULES, 7)]
    add_segment(reader, f"cold-{number}", cold)
    assert list(reader.rows_in_use()) == [(RULES, 7), (RULES, 9)]


@pytest.mark.parametrize("table", TABLES, ids=IDS)
def test_the_copy_for_clients_has_the_counts_of_every_row(table):
    random.seed(table.offset)
    number, reader = layout.cell(table, SEGMENT) // SEGMENT, CounterReader(CPUS)
    hot, cold = layout.HOT[id(table)], layout.COLD[id(table)]
    add_segment(
        reader,
        f"hot-{number}",
        [count for _ in range(CPUS * SEGMENT) for count in any_cell(hot, HOT_COLUMNS)],
    )
    add_segment(
        reader, f"cold-{number}", [count for _ in range(SEGMENT) for count in any_cell(cold, COLD_COLUMNS)]
    )
    copy = memoryview(mmap.mmap(-1, COUNTERS_SIZE)).cast("Q")
    others = {other.offset: 0 for other in TABLES}
    reader.copy_to(copy, {**others, table.offset: SEGMENT})
    assert not any(any(table.counts(copy, row)) for row in range(2 * SEGMENT))
    reader.copy_to(copy, {**others, table.offset: SEGMENT + 7})
    assert [table.counts(copy, SEGMENT + row) for row in (6, 7)] == [
        reader.row(table, SEGMENT + 6),
        [0] * len(table.columns),
    ]
    reader.copy_to(copy, {**others, table.offset: 3 * SEGMENT})
    rows = [table.counts(copy, row) for row in range(SEGMENT, 2 * SEGMENT)]
    assert rows == [reader.row(table, row) for row in range(SEGMENT, 2 * SEGMENT)]
    assert any(map(any, rows))
    others = [(other, row) for other in TABLES for row in (0, SEGMENT - 1, 2 * SEGMENT)]
    assert not any(any(other.counts(copy, row)) for other, row in others)


def test_the_last_packet_of_a_rule_is_the_latest_of_any_cpu():
    reader = CounterReader(CPUS)
    address = int.from_bytes(bytes((10, 0, 0, 5)), "little")
    cpus = [[1, 100, 50, 7], [2, 200, 70, address], [3, 300, 60, 9]]
    cells = [count for cpu in cpus for count in (*cpu, *[0] * HOT_COLUMNS * (SEGMENT - 1))]
    add_segment(reader, f"hot-{layout.cell(RULES, 0) // SEGMENT}", cells)
    row = dict(zip(RULES.columns, reader.row(RULES, 0), strict=True))
    assert (row["packets"], row["octets"], row["last_time"]) == (6, 600, 1_000_070)
    assert row["last_source"] == 0x0A000005


def test_other_maps_are_none_of_the_counters():
    reader = CounterReader(CPUS)
    reader.add("flows", -1)
    reader.add("slots-0", -1)
    assert reader.row(RULES, 0) == [0] * len(RULES.columns)


def test_a_row_is_cleared_for_every_cpu(monkeypatch):
    runs = []
    monkeypatch.setattr(counters.bpf, "run_program", lambda program, packet: runs.append((program, packet)))
    counters.clear(9, RULES, 3, CPUS)
    cell = layout.cell(RULES, 3).to_bytes(4, "little")
    assert runs == [(9, bytes(14) + cell + cpu.to_bytes(4, "little")) for cpu in range(CPUS)]
