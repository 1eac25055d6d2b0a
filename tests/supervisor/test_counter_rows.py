"""Counters outlive workers and reloads, are added over all workers, and start at zero for a new owner."""

import errno
import os
from array import array
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.config.model import Config, Input, Output, Rule
from mcrelay.model.actions import Close, Open, SetFlow
from mcrelay.model.counters import COUNTERS_SIZE, LINKS, OUTPUTS, RULES, Table
from mcrelay.model.send_errors import SEND_ERROR_NAMES, PathFault
from mcrelay.model.state import DesiredState, Egress, Flow, Ingress, Route, RouteOutput, WorkerState
from mcrelay.packet.fib import RouteEntry, RouteTable
from mcrelay.protocol.worker import Instruction
from mcrelay.supervisor import counter_rows
from mcrelay.supervisor.counter_rows import CounterMemory, CounterRows, Rows, RowsExhausted
from mcrelay.supervisor.supply import SupplyError
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.egress import OutputMessages, SendFailure, SendResult
from mcrelay.worker.segments import find_runs

RING = Ingress(7, 2048)
EGRESS = Egress(8, "10.2.0.1")
SMALL = Table(columns=("packets",), rows=4, offset=0)

names = st.integers(0, 7)


@given(st.lists(names | st.frozensets(names, max_size=4) | st.tuples(names, names), max_size=30))
def test_a_name_keeps_a_row_of_its_own(steps):
    """Numbers ask for a row, sets say which names are in use still, and pairs are names with earlier rows."""
    rows, plain = Rows(SMALL), {}
    for step in steps:
        if isinstance(step, frozenset):
            gone = [plain.pop(name) for name in list(plain) if name not in step]
            assert sorted(rows.release_all_except(step)) == sorted(gone)
        elif isinstance(step, tuple):
            name, row = step
            rows.adopt(name, row)
            if name not in plain and row not in plain.values() and row < SMALL.rows:
                plain[name] = row
        elif step in plain or len(plain) < SMALL.rows:
            row = rows.row(step)
            assert plain.setdefault(step, row) == row
        else:
            with pytest.raises(RowsExhausted, match="no room for more than 4 counters"):
                rows.row(step)
        assert {name: rows.get(name) for name in range(8) if rows.get(name) is not None} == plain
        assert len(set(plain.values())) == len(plain)
        assert set(plain.values()) <= set(range(SMALL.rows))


def test_more_names_than_rows_are_an_error_with_the_number_of_rows():
    rows = Rows(SMALL)
    assert sorted(rows.row(name) for name in range(4)) == [0, 1, 2, 3]
    with pytest.raises(RowsExhausted, match="no room for more than 4 counters"):
        rows.row(4)
    assert rows.row(3) == 3


def test_a_row_is_used_again_only_after_it_was_freed():
    rows = Rows(SMALL)
    first = rows.row("camera")
    assert rows.row("sensors") != first
    assert rows.release_all_except({"sensors", "never seen"}) == [first]
    assert rows.get("camera") is None
    assert rows.row("feed") == first


def test_an_earlier_row_is_taken_only_if_it_is_free_and_counts_as_an_assignment():
    rows = Rows(SMALL)
    rows.adopt("camera", 2)
    rows.adopt("sensors", 2)
    rows.adopt("sensors", 4)
    rows.adopt("camera", 3)
    assert rows.all() == {"camera": 2}
    assert rows.assignments == 1
    assert sorted(rows.row(name) for name in ("sensors", "feed", "clock")) == [0, 1, 3]
    assert rows.assignments == 4


def output(port=6001, ttl=64, fault=None):
    return RouteOutput("plant", EGRESS, "239.2.2.2", port, ttl, 0, fault)


def set_flow(rule, *outputs, port=5001):
    return SetFlow(0, Flow(7, "239.1.1.1", port), Route(rule, outputs))


def config(**rules):
    """A file with these rules and the ports of their outputs."""
    source = Input("studio", "239.1.1.1", 5001)
    way_out = partial(Output, "plant", "239.2.2.2", source=None, source_port=0, ttl=64, dscp=0)
    return Config(
        "auto",
        1,
        True,
        10**9,
        {},
        {
            name: Rule(name, "", source, tuple(map(way_out, ports)), True, "auto", None)
            for name, ports in rules.items()
        },
    )


def state(*actions):
    """The state of one worker after these actions."""
    flows = {action.flow: action.route for action in actions}
    return DesiredState(WorkerState(frozenset({RING, EGRESS}), flows), 1)


@pytest.fixture
def all_rows():
    return CounterRows()


def counter_writer_of(all_rows, worker=0):
    """The counters as the worker sees them."""
    return CounterWriter(all_rows.memory(worker).shared.descriptor)


def column(*values):
    return np.array(values, np.int64)


def count_relayed(writer, counter_rows, lengths, sources, time):
    """Count one packet for each row, which ascend; a rule's row is here the number of its route."""
    found = find_runs(column(*counter_rows), None, column(*lengths))
    writer.add_relayed(found, np.arange(max(counter_rows) + 1), np.array(sources, np.uint32), time)


def eleven_sent():
    """Eleven packets of 50 octets to output 1, nine of which fail; one to output 0 fails, and four expire.

    Two are withheld from output 0.
    """
    found = find_runs(np.zeros(11, np.int64), None, np.full(11, 50))
    copies = OutputMessages(column(0, 1), column(0, 0), column(1, 11), column(50, 550))
    expired = OutputMessages(column(0), column(0), column(4), column(200))
    withheld = OutputMessages(column(0), column(0), column(2), column(100))
    unsent = [
        SendFailure(0, errno.ENETDOWN, 0, 1),
        SendFailure(1, errno.ENETDOWN, 0, 3),
        SendFailure(1, errno.EBADF, 3, 6),
    ]
    return SendResult(found, copies, withheld, expired, unsent)


# Rows.


def test_a_ring_gets_the_row_of_its_link_and_a_flow_gets_those_of_its_rule_and_outputs(all_rows):
    assert all_rows.instruction(Open(0, RING), False) == Instruction(Open(0, RING), (0,))
    assert all_rows.instruction(Open(1, RING), True) == Instruction(Open(1, RING), (0,), True)
    flow = set_flow("feed", output(6001), output(6002))
    assert all_rows.instruction(flow, False) == Instruction(flow, (0, 0, 1))
    other = set_flow("other", output(6001))
    assert all_rows.instruction(other, False) == Instruction(other, (1, 2))


@pytest.mark.parametrize("action", [Open(0, EGRESS), Close(0, RING)])
def test_actions_that_count_nothing_get_no_row(all_rows, action):
    assert all_rows.instruction(action, False) == Instruction(action)


def test_a_rule_keeps_its_rows_when_its_flow_or_the_ttl_of_an_output_changes(all_rows):
    before = all_rows.instruction(set_flow("feed", output(ttl=64)), False)
    after = all_rows.instruction(set_flow("feed", output(ttl=3), port=5002), False)
    assert after.rows == before.rows


def test_the_number_of_rows_is_limited(monkeypatch):
    monkeypatch.setattr(counter_rows, "RULES", Table(RULES.columns, rows=2, offset=RULES.offset))
    all_rows = CounterRows()
    all_rows.instruction(set_flow("one", output()), False)
    all_rows.instruction(set_flow("two", output()), False)
    with pytest.raises(RowsExhausted):
        all_rows.instruction(set_flow("three", output()), False)


def test_a_rule_its_outputs_and_a_link_get_the_rows_of_an_earlier_daemon(all_rows):
    first, second = output(6001), output(6002)
    all_rows.adopt_link(7, 3)
    all_rows.adopt("feed", 5, [(first, 9), (second, 8)])
    assert all_rows.taken() == {(LINKS, 3), (RULES, 5), (OUTPUTS, 9), (OUTPUTS, 8)}
    assert (all_rows.link_row(7), all_rows.rule_row("feed")) == (3, 5)
    assert [all_rows.output_row("feed", out) for out in (first, second)] == [9, 8]
    assert all_rows.link_rows() == {7: 3}
    assert all_rows.revision == 3
    flow = set_flow("feed", first, second)
    assert all_rows.instruction(flow, False) == Instruction(flow, (5, 9, 8))


def test_an_output_that_an_earlier_daemon_did_not_have_gets_a_new_row(all_rows):
    all_rows.adopt("feed", 5, [(output(6001), 0)])
    assert all_rows.output_row("feed", output(6001)) == 0
    assert all_rows.output_row("feed", output(6002)) == 1


# Counts.


def test_the_supervisor_reads_what_a_worker_counts(all_rows):
    flow = set_flow("feed", output(6001), output(6002))
    all_rows.instruction(Open(0, RING), False)
    all_rows.instruction(flow, False)
    writer = counter_writer_of(all_rows)
    writer.add_link(0, {"packets": 5, "octets": 500, "overrun": 2})
    writer.add_rule_drops(np.array([0, 0, 0]), "malformed")
    count_relayed(writer, [0, 0], [40, 60], [1, 2], 99)
    entry = RouteEntry(Route("feed", (output(6001, fault=PathFault.NO_ROUTE), output(6002))), (0, 0, 1))
    writer.add_sent(eleven_sent(), RouteTable([entry], [EGRESS]), np.full(11, 50), 98)
    assert nonzero(all_rows.link(7)) == {"packets": 5, "octets": 500, "overrun": 2}
    assert nonzero(all_rows.rule("feed")) == {
        "packets": 2,
        "octets": 100,
        "malformed": 3,
        "last_time": 99,
        "last_source": 2,
    }
    assert nonzero(all_rows.output("feed", output(6001))) == {
        "ttl": 4,
        "ENETDOWN": 1,
        "no_route": 2,
        "last_error_time": 98,
        "last_error": SEND_ERROR_NAMES.index("no_route"),
    }
    assert nonzero(all_rows.output("feed", output(6002))) == {
        "packets": 2,
        "octets": 100,
        "ENETDOWN": 3,
        "other": 6,
        "last_error_time": 98,
        "last_error": SEND_ERROR_NAMES.index("other"),
    }


def test_the_packets_of_several_rules_in_one_batch_are_counted_separately(all_rows):
    writer = counter_writer_of(all_rows)
    count_relayed(writer, [1, 1, 1, 3, 3], [10, 1000, 10_000, 1, 100], [1, 3, 4, 0, 2], 77)
    table = [dict(zip(RULES.columns, row, strict=True)) for row in writer.rules.tolist()[:4]]
    assert [(row["packets"], row["octets"], row["last_source"], row["last_time"]) for row in table] == [
        (0, 0, 0, 0),
        (3, 11_010, 4, 77),
        (0, 0, 0, 0),
        (2, 101, 2, 77),
    ]


def test_a_restarted_worker_continues_the_counters_of_the_one_before(all_rows):
    all_rows.instruction(Open(0, RING), False)
    counter_writer_of(all_rows).add_link(0, {"packets": 5})
    counter_writer_of(all_rows).add_link(0, {"packets": 2})
    assert all_rows.link(7)["packets"] == 7
    assert len(all_rows.memories) == 1


def test_counts_of_all_workers_are_added_and_the_last_packet_is_the_latest_of_any(all_rows):
    all_rows.instruction(set_flow("feed", output()), False)
    for worker, time, source in ((0, 10, 1), (1, 30, 2), (2, 20, 3)):
        count_relayed(counter_writer_of(all_rows, worker), [0], [100], [source], time)
    assert nonzero(all_rows.rule("feed")) == {
        "packets": 3,
        "octets": 300,
        "last_time": 30,
        "last_source": 2,
    }


def test_counts_of_the_kernel_are_added_to_those_of_the_workers(all_rows):
    class Kernel:
        def row(self, table, row):
            return table.counts(memoryview(numbers), row)

    numbers = array("Q", bytes(COUNTERS_SIZE))
    all_rows.instruction(set_flow("feed", output()), False)
    count_relayed(counter_writer_of(all_rows), [0], [100], [1], 10)
    for name, count in {"packets": 2, "octets": 50, "source": 7, "last_time": 30, "last_source": 9}.items():
        numbers[RULES.index(0, name)] = count
    all_rows.kernel = Kernel()
    assert nonzero(all_rows.rule("feed")) == {
        "packets": 3,
        "octets": 150,
        "source": 7,
        "last_time": 30,
        "last_source": 9,
    }


def test_a_name_without_a_row_has_counts_of_zero(all_rows):
    counter_writer_of(all_rows).add_link(0, {"packets": 5})
    assert all_rows.link(7) == dict.fromkeys(LINKS.columns, 0)
    assert all_rows.rule("feed") == dict.fromkeys(RULES.columns, 0)
    assert all_rows.output("feed", output()) == dict.fromkeys(OUTPUTS.columns, 0)


def test_a_row_keeps_its_counts_for_its_owner_and_starts_at_zero_for_a_new_one(all_rows):
    feed, other = set_flow("feed", output(6001)), set_flow("other", output(6001), output(6002))
    for action in (Open(0, RING), feed, other):
        all_rows.instruction(action, False)
    for worker in (0, 1):
        writer = counter_writer_of(all_rows, worker)
        writer.add_link(0, {"packets": 1})
        for row in (0, 1):
            writer.add_rule_drops(np.array([row]), "own")
        writer.outputs[:3, 0] += np.uint64(1)
    all_rows.release_all_except([config(feed=[6001])], [state(feed)])
    assert all_rows.rule("feed")["own"] == 2
    assert all_rows.output("feed", output(6001))["packets"] == 2
    assert all_rows.rule("other") == dict.fromkeys(RULES.columns, 0)

    newcomer = set_flow("newcomer", output(6001), output(6002))
    assert sorted(all_rows.instruction(newcomer, False).rows[1:]) == [1, 2]  # those of the rule that went
    assert all_rows.rule("newcomer") == dict.fromkeys(RULES.columns, 0)
    assert all_rows.output("newcomer", output(6002)) == dict.fromkeys(OUTPUTS.columns, 0)
    all_rows.release_all_except([config()], [DesiredState()])
    assert all_rows.link(7) == dict.fromkeys(LINKS.columns, 0)
    assert not counter_writer_of(all_rows, 1).rules.any()
    assert not counter_writer_of(all_rows, 1).outputs.any()


def test_a_rule_that_does_not_run_for_a_while_keeps_its_counts(all_rows):
    all_rows.instruction(set_flow("feed", output(6001)), False)
    counter_writer_of(all_rows).outputs[0, 0] = 7
    all_rows.release_all_except([config(feed=[6001])], [DesiredState()])
    assert all_rows.output("feed", output(6001))["packets"] == 7
    all_rows.release_all_except([config(feed=[6002])], [DesiredState()])
    assert all_rows.output("feed", output(6001))["packets"] == 0


def test_all_actions_without_a_row_have_a_reason(monkeypatch):
    monkeypatch.setattr(counter_rows, "RULES", Table(RULES.columns, rows=1, offset=RULES.offset))
    actions = [set_flow(name, output()) for name in ("one", "two", "three")]
    with pytest.raises(SupplyError) as failure:
        CounterRows().instructions(actions, frozenset())
    assert list(failure.value.reasons) == [1, 2]


def test_a_worker_cannot_shrink_the_memory_of_its_counters(all_rows):
    with pytest.raises(PermissionError):
        os.ftruncate(all_rows.memory(0).shared.descriptor, 0)


def test_clearing_a_row_does_not_touch_its_neighbours():
    memory = CounterMemory("test")
    writer = CounterWriter(memory.shared.descriptor)
    for table, counts in ((LINKS, writer.links), (RULES, writer.rules), (OUTPUTS, writer.outputs)):
        counts[:3] = 7
        counts[-2:] = 7
        memory.clear(table, 1)
        memory.clear(table, table.rows - 1)
        assert counts[:3].min(axis=1).tolist() == [7, 0, 7]
        assert counts[:3].max(axis=1).tolist() == [7, 0, 7]
        assert counts[-2:].max(axis=1).tolist() == [7, 0]
        assert memory.row(table, 2) == [7] * len(table.columns)


def nonzero(counts):
    return {name: count for name, count in counts.items() if count}
