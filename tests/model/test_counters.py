"""Every count has an index of its own in the memory, and the counts of workers are added up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.counters import COUNTERS_SIZE, LINKS, MASK, OUTPUTS, RULES, TRAFFIC, Table
from mcrelay.model.near_misses import NearMiss

TABLES = (LINKS, RULES, OUTPUTS)


def test_the_tables_follow_one_another_and_fill_the_memory():
    end = 0
    for table in TABLES:
        assert table.offset == end
        end += table.size
    assert end == COUNTERS_SIZE


@pytest.mark.parametrize("table", TABLES)
def test_every_count_of_a_table_has_an_index_of_its_own_inside_it(table):
    for row in (0, 1, table.rows - 1):
        indexes = [table.index(row, column) for column in table.columns]
        assert len(set(indexes)) == len(table.columns)
        assert all(table.offset <= 8 * index < table.offset + table.size for index in indexes)
    assert table.index(1, table.columns[0]) == table.index(0, table.columns[-1]) + 1


def test_no_column_is_there_twice():
    for table in TABLES:
        assert len(set(table.columns)) == len(table.columns)


@pytest.mark.parametrize("table", TABLES)
def test_the_columns_of_drops_follow_those_of_the_traffic(table):
    assert table.columns[: len(TRAFFIC)] == TRAFFIC
    assert table.columns[table.drop_columns] == table.drops != ()


def test_a_row_is_read_where_its_table_lies():
    table = Table(columns=("packets", "octets"), rows=3, offset=16)
    numbers = memoryview(bytearray(table.offset + table.size)).cast("Q")
    numbers[table.index(1, "packets")], numbers[table.index(1, "octets")] = 7, 700
    assert [table.counts(numbers, row) for row in range(3)] == [[0, 0], [7, 700], [0, 0]]


WIDTH = len(RULES.columns)
counts = st.lists(st.lists(st.integers(0, 2**60), min_size=WIDTH, max_size=WIDTH), max_size=4)


@given(counts)
def test_the_total_of_workers_is_a_sum_except_for_last_packets_of_which_it_is_the_latest(of_workers):
    total = dict(zip(RULES.columns, RULES.total(of_workers), strict=True))
    rows = [dict(zip(RULES.columns, one, strict=True)) for one in of_workers]
    for name in (*TRAFFIC, *RULES.drops):
        assert total[name] == sum(row[name] for row in rows)
    for time, value in (("last_time", "last_source"), *(miss.columns[:2] for miss in NearMiss)):
        youngest = max((row[time], row[value]) for row in rows) if rows else (0, 0)
        assert (total[time], total[value]) == youngest
    for miss in NearMiss:
        assert total[miss.columns[2]] == sum(row[miss.columns[2]] for row in rows)


def test_every_count_of_an_output_is_a_sum_except_for_the_last_error_which_is_the_latest():
    one = list(range(len(OUTPUTS.columns)))
    later = [*one[:-2], one[-2] + 1, 0]
    assert OUTPUTS.total([one, later]) == [*(2 * count for count in one[:-2]), *later[-2:]]
    assert OUTPUTS.total([one]) == one
    assert OUTPUTS.total([]) == [0] * len(one)


def test_the_count_of_a_worker_may_be_negative_as_long_as_the_sum_is_not():
    zeros = [0] * (len(OUTPUTS.columns) - 1)
    assert OUTPUTS.total([[2**64 - 1, *zeros], [3, *zeros]])[0] == 2


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=2),
    st.lists(st.integers(0, 50), min_size=len(OUTPUTS.returned), max_size=len(OUTPUTS.returned)),
)
def test_never_more_packets_have_come_back_as_icmp_errors_than_were_sent(sent, returned):
    rows = [[0] * len(OUTPUTS.columns) for _ in sent]
    for row, packets in zip(rows, sent, strict=True):
        row[:2] = packets, 100 * packets
    for column, count in zip(OUTPUTS.returned, returned, strict=True):
        rows[0][column] = count
    rows[0][0] = (rows[0][0] - sum(returned)) & MASK
    total = dict(zip(OUTPUTS.columns, OUTPUTS.total(rows), strict=True))
    dropped = sum(total[name] for name in OUTPUTS.drops)
    assert total["packets"] + dropped == sum(sent)
    assert dropped == min(sum(sent), sum(returned))
