"""Every count has one place, and keeps it while its name is in use."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.counters import (
    LINKS,
    MEMORY_SIZE,
    OTHER_ERRNO,
    OUTPUTS,
    RULES,
    SEND_ERRNOS,
    SEND_ERROR_MEANINGS,
    SEND_ERROR_NAMES,
    Drop,
    Rows,
    RowsExhausted,
    Table,
)

TABLES = (LINKS, RULES, OUTPUTS)
SMALL = Table(columns=("packets",), rows=4, offset=0)


def test_the_tables_follow_one_another_and_fill_the_memory():
    end = 0
    for table in TABLES:
        assert table.offset == end
        end += table.size
    assert end == MEMORY_SIZE


@pytest.mark.parametrize("table", TABLES)
def test_every_count_of_a_table_has_a_place_of_its_own_inside_it(table):
    for row in (0, 1, table.rows - 1):
        places = [table.place(row, column) for column in table.columns]
        assert len(set(places)) == len(table.columns)
        assert all(table.offset <= 8 * place < table.offset + table.size for place in places)
    assert table.place(1, table.columns[0]) == table.place(0, table.columns[-1]) + 1


@pytest.mark.parametrize("drop", Drop)
def test_every_drop_reason_is_explained_and_counted_somewhere(drop):
    assert ": " in drop.meaning  # what it is, and what to do
    columns = {column for table in TABLES for column in table.columns}
    if drop is Drop.SEND_ERROR:  # by errno
        assert set(SEND_ERROR_NAMES) <= set(OUTPUTS.columns)
    else:
        assert drop in columns


def test_no_column_is_there_twice():
    for table in TABLES:
        assert len(set(table.columns)) == len(table.columns)


def test_every_errno_has_its_name_and_the_rest_share_one():
    assert (*(getattr(errno, name) for name in SEND_ERROR_NAMES[:-1]),) == SEND_ERRNOS
    assert SEND_ERROR_NAMES[-1] == OTHER_ERRNO


def test_every_meaning_is_one_line_that_fits_below_a_rule():
    for meaning in (*(drop.meaning for drop in Drop), *SEND_ERROR_MEANINGS.values()):
        assert meaning.isprintable()
        assert 20 < len(meaning) <= 140
        assert ": " in meaning


names = st.integers(0, 7)


@given(st.lists(names | st.frozensets(names, max_size=4), max_size=30))
def test_a_name_keeps_its_row_and_shares_it_with_none(steps):
    """Numbers ask for a row, sets say which names are in use still."""
    rows, plain = Rows(SMALL), {}
    for step in steps:
        if isinstance(step, frozenset):
            gone = [plain.pop(name) for name in list(plain) if name not in step]
            assert sorted(rows.keep(step)) == sorted(gone)
        elif step in plain or len(plain) < SMALL.rows:
            row = rows.row(step)
            assert plain.setdefault(step, row) == row
        else:
            with pytest.raises(RowsExhausted, match="no room for more than 4 counters"):
                rows.row(step)
        assert {name: rows.get(name) for name in range(8) if rows.get(name) is not None} == plain
        assert len(set(plain.values())) == len(plain)
        assert set(plain.values()) <= set(range(SMALL.rows))


def test_more_names_than_rows_are_an_error_that_says_how_many_there_are():
    rows = Rows(SMALL)
    assert sorted(rows.row(name) for name in range(4)) == [0, 1, 2, 3]
    with pytest.raises(RowsExhausted, match="no room for more than 4 counters"):
        rows.row(4)
    assert rows.row(3) == 3


def test_a_row_is_used_again_only_after_it_was_given_up():
    rows = Rows(SMALL)
    first = rows.row("camera")
    assert rows.row("sensors") != first
    assert rows.keep({"sensors", "never seen"}) == [first]
    assert rows.get("camera") is None
    assert rows.row("feed") == first


def test_a_row_is_read_where_its_table_lies():
    table = Table(columns=("packets", "octets"), rows=3, offset=16)
    numbers = memoryview(bytearray(table.offset + table.size)).cast("Q")
    numbers[table.place(1, "packets")], numbers[table.place(1, "octets")] = 7, 700
    assert [table.counts(numbers, row) for row in range(3)] == [[0, 0], [7, 700], [0, 0]]


counts = st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=9, max_size=9), max_size=4)


@given(counts)
def test_the_total_of_workers_is_a_sum_but_for_the_last_packet_which_is_the_youngest(of_workers):
    total = dict(zip(RULES.columns, RULES.total(of_workers), strict=True))
    rows = [dict(zip(RULES.columns, one, strict=True)) for one in of_workers]
    for name in ("packets", "octets", "fragment", "own"):
        assert total[name] == sum(row[name] for row in rows)
    youngest = max((row["last_time"], row["last_source"]) for row in rows) if rows else (0, 0)
    assert (total["last_time"], total["last_source"]) == youngest


def test_every_count_of_an_output_is_a_sum():
    one = list(range(len(OUTPUTS.columns)))
    assert OUTPUTS.total([one, one]) == [2 * count for count in one]
    assert OUTPUTS.total([one]) == one
    assert OUTPUTS.total([]) == [0] * len(one)
