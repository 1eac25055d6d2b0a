"""The summary says of every rule what it does, and of every packet what became of it."""

import numpy as np

from mcrelay.model.actions import Open, SetFlow
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import DesiredState, Egress, Flow, Ingress, Route, RouteOutput, WorkerState
from mcrelay.reconcile.plan import Plan
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.log_summary import lines
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.segments import find_runs

RING = Ingress(7, 2048)
PLANT = RouteOutput("plant", Egress(8, "10.2.0.1"), "239.2.2.2", 6001, 64, 0)
LAB = RouteOutput("lab", Egress(9, "10.3.0.1"), "10.3.0.2", 6002, "decrement", 0)
FLOW = Flow(7, "239.1.1.1", 5001)
ROUTE = Route("feed", (PLANT, LAB))
FORWARDING = DesiredState(WorkerState(frozenset({RING, PLANT.egress, LAB.egress}), {FLOW: ROUTE}), 1)


def ledger_with_counts():
    ledger = CounterRows()
    ledger.instruction(Open(0, RING), False)
    ledger.instruction(SetFlow(0, FLOW, ROUTE), False)
    tally = CounterWriter(ledger.memory(0).shared.descriptor)
    tally.add_link(0, packets=20, octets=2000, no_rule=3, overrun=2)
    nine = find_runs(np.zeros(9, np.int64), None, np.full(9, 100))
    tally.add_relayed(nine, np.array([0]), np.full(9, 1, np.uint32), 5)
    tally.add_rule_drops(np.array([0, 0]), "fragment")
    tally.outputs[0, :3] = [9, 900, 0]
    tally.outputs[1, :4] = [4, 400, 5, 1]
    return ledger


def test_a_rule_that_runs_shows_what_came_in_what_went_out_and_why_the_rest_did_not():
    plan = Plan(FORWARDING, {"feed": RuleStatus(RuleState.ACTIVE)})
    assert list(lines(plan, plan.rules, ledger_with_counts())) == [
        "rule feed: active",
        "  in  9 packets, 900 octets; dropped: fragment 2",
        "  out 9 packets, 900 octets to plant:239.2.2.2:6001 from 10.2.0.1",
        "  out 4 packets, 400 octets to lab:10.3.0.2:6002 from 10.3.0.1; dropped: ttl 5, EPERM 1",
        "device 7: 20 packets, 2000 octets; dropped: no_rule 3, overrun 2",
    ]


def test_a_rule_that_does_not_run_says_why():
    verdicts = {
        "late": RuleStatus(RuleState.UNRESOLVED, "input: device eth9 is absent"),
        "off": RuleStatus(RuleState.DISABLED, "`enabled: false` in the file"),
    }
    assert list(lines(Plan(DesiredState(), verdicts), verdicts, CounterRows())) == [
        "rule late: unresolved: input: device eth9 is absent",
        "rule off: disabled: `enabled: false` in the file",
    ]


def test_the_verdicts_are_those_that_are_given_not_those_that_were_planned():
    plan = Plan(FORWARDING, {"feed": RuleStatus(RuleState.ACTIVE)})
    first, *_ = lines(plan, {"feed": RuleStatus(RuleState.FAILED, "cannot join")}, CounterRows())
    assert first == "rule feed: failed: cannot join"
