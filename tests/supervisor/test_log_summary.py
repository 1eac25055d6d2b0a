"""The log shows each change of a rule, and on request the traffic of all rules."""

import logging

import numpy as np
import pytest

from mcrelay.model.actions import Open, SetFlow
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import DesiredState, Egress, Flow, Ingress, Route, RouteOutput, WorkerState
from mcrelay.reconcile.plan import Plan
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.log_summary import MAX_LINES, StatusLog, count_states, describe_traffic, log_lines
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.segments import find_runs

RING = Ingress(7, 2048)
PLANT = RouteOutput("plant", Egress(8, "10.2.0.1"), "239.2.2.2", 6001, 64, 0)
LAB = RouteOutput("lab", Egress(9, "10.3.0.1"), "10.3.0.2", 6002, "decrement", 0)
FLOW = Flow(7, "239.1.1.1", 5001)
ROUTE = Route("feed", (PLANT, LAB))
FORWARDING = DesiredState(WorkerState(frozenset({RING, PLANT.egress, LAB.egress}), {FLOW: ROUTE}), 1)


def rows_with_counts():
    counter_rows = CounterRows()
    counter_rows.instruction(Open(0, RING), False)
    counter_rows.instruction(SetFlow(0, FLOW, ROUTE), False)
    counters = CounterWriter(counter_rows.memory(0).shared.descriptor)
    counters.add_link(0, {"packets": 20, "octets": 2000, "no_rule": 3, "overrun": 2})
    nine = find_runs(np.zeros(9, np.int64), None, np.full(9, 100))
    counters.add_relayed(nine, np.array([0]), np.full(9, 1, np.uint32), 5)
    counters.add_rule_drops(np.array([0, 0]), "fragment")
    counters.outputs[0, :3] = [9, 900, 0]
    counters.outputs[1, :4] = [4, 400, 5, 1]
    return counter_rows


def test_an_active_rule_has_lines_with_its_packets_and_drops():
    plan = Plan(FORWARDING, {"feed": RuleStatus(RuleState.ACTIVE)})
    assert list(describe_traffic(plan, plan.rules, rows_with_counts())) == [
        "rule feed: active",
        "  in  9 packets, 900 bytes; dropped: fragment 2",
        "  out 9 packets, 900 bytes to plant:239.2.2.2:6001 from 10.2.0.1",
        "  out 4 packets, 400 bytes to lab:10.3.0.2:6002 from 10.3.0.1; dropped: ttl 5, EPERM 1",
        "device 7: 20 packets, 2000 bytes; dropped: no_rule 3, overrun 2",
    ]


def test_a_rule_that_does_not_run_has_a_reason():
    statuses = {
        "late": RuleStatus(RuleState.UNRESOLVED, "input: device eth9 is absent"),
        "off": RuleStatus(RuleState.DISABLED, "`enabled: false` in the file"),
    }
    assert list(describe_traffic(Plan(DesiredState(), statuses), statuses, CounterRows())) == [
        "rule late: unresolved: input: device eth9 is absent",
        "rule off: disabled: `enabled: false` in the file",
    ]


def test_the_statuses_are_those_of_the_argument_not_of_the_plan():
    plan = Plan(FORWARDING, {"feed": RuleStatus(RuleState.ACTIVE)})
    first, *_ = describe_traffic(plan, {"feed": RuleStatus(RuleState.FAILED, "cannot join")}, CounterRows())
    assert first == "rule feed: failed: cannot join"


@pytest.fixture
def log(caplog):
    """The level and text of each line that was logged since the last call."""
    caplog.set_level(logging.INFO)

    def new_lines():
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return lines

    return new_lines


def test_only_changes_of_a_status_are_logged(log):
    status_log = StatusLog()
    active, failed = RuleStatus(RuleState.ACTIVE), RuleStatus(RuleState.FAILED, "cannot join")
    status_log.log_changes({"feed": active, "clock": failed, "off": RuleStatus(RuleState.DISABLED)})
    assert log() == [("INFO", "rule off: disabled"), ("WARNING", "rule clock: failed: cannot join")]
    status_log.log_changes({"feed": active.with_reasons("device eth1 is down"), "clock": active})
    assert log() == [("INFO", "rule clock: active"), ("WARNING", "rule feed: active: device eth1 is down")]
    status_log.log_changes({"feed": active.with_reasons("device eth1 is down"), "clock": active})
    assert log() == []


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ([], "0 rules"),
        ([RuleState.ACTIVE], "1 rule (1 active)"),
        ([RuleState.DISABLED, RuleState.ACTIVE, RuleState.ACTIVE], "3 rules (2 active, 1 disabled)"),
    ],
)
def test_the_states_are_counted_in_one_order(states, text):
    assert count_states({f"rule {at}": RuleStatus(state) for at, state in enumerate(states)}) == text


@pytest.mark.parametrize(
    ("count", "last"), [(MAX_LINES, "line 49"), (MAX_LINES + 7, "... and 7 more: see `mcrelay status`")]
)
def test_the_lines_of_one_event_are_limited(log, count, last):
    log_lines(logging.WARNING, [f"line {number}" for number in range(count)], "worker 0: ")
    lines = log()
    assert len(lines) == min(count, MAX_LINES + 1)
    assert lines[-1] == ("WARNING", f"worker 0: {last}")
