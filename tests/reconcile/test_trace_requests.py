"""A trace request gets a report: which rings can be read, or why there are none."""

from dataclasses import replace

import pytest

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import KERNEL, Trace
from mcrelay.protocol.control import TraceState
from mcrelay.reconcile.plan import Plan
from mcrelay.reconcile.trace_requests import MAX_TRACES, TraceRequests
from tests.support.reconciler_harness import CAMERA, ONE_RULE, TO_NEAR, ReconcilerHarness, settle
from tests.support.strategies import planned, running_as

RULE_ON_TWO = planned({"camera": ([CAMERA], [TO_NEAR])}, count=2)


class TraceHarness:
    """A reconciler harness, and the trace requests of a control process."""

    def __init__(self, plan):
        self.harness = settle(plan)
        self.requests = TraceRequests()

    def ask(self, rule, wanted=True):
        self.requests.request(rule, wanted)
        return self.reports()

    def reports(self):
        self.harness.trace(*self.requests.traces)
        return self.requests.reports(self.harness.reconciler)

    def answer(self):
        for worker, fake in self.harness.workers.items():
            if fake.batch:
                self.harness.answer(worker)
        return self.reports()


def test_a_trace_is_reported_once_every_worker_has_confirmed_it():
    tracing = TraceHarness(RULE_ON_TWO)
    assert tracing.ask("camera") == []
    tracing.harness.answer(0)
    assert tracing.reports() == []
    tracing.harness.answer(1)
    assert tracing.reports() == [TraceState("camera", 1, (0, 1))]
    assert tracing.reports() == []


def test_a_second_request_gets_a_report_of_the_same_trace():
    tracing = TraceHarness(ONE_RULE)
    tracing.ask("camera")
    tracing.answer()
    assert tracing.ask("camera") == [TraceState("camera", 1, (0,))]


def test_a_trace_ends_in_the_workers_and_the_next_one_has_another_number():
    tracing = TraceHarness(ONE_RULE)
    tracing.ask("camera")
    tracing.answer()
    assert tracing.ask("camera", wanted=False) == []
    tracing.answer()
    assert tracing.harness.reconciler.running == running_as(ONE_RULE.state)
    tracing.ask("camera")
    assert tracing.answer() == [TraceState("camera", 2, (0,))]


def test_ending_a_trace_that_does_not_run_does_nothing():
    assert TraceHarness(ONE_RULE).ask("camera", wanted=False) == []


def test_a_report_does_not_wait_for_a_worker_that_is_away():
    tracing = TraceHarness(RULE_ON_TWO)
    tracing.harness.exit(1)
    tracing.ask("camera")
    assert tracing.answer() == [TraceState("camera", 1, (0, 1))]


def test_a_paused_rule_is_traced_once_it_is_forwarded_again():
    tracing = TraceHarness(ONE_RULE)
    tracing.harness.exit(0)
    assert tracing.ask("camera") == [TraceState("camera", 1, (0,))]


def test_a_rule_of_the_kernel_is_traced_once_the_kernel_has_left_it_to_a_worker():
    tracing = TraceHarness(planned({"camera": ([CAMERA], [TO_NEAR])}, in_kernel={"camera"}))
    assert tracing.ask("camera") == []
    tracing.harness.hello(0)
    assert tracing.reports() == []
    tracing.harness.answer(0)
    assert tracing.reports() == []  # the kernel still relays packets that no trace shows
    tracing.harness.exit(KERNEL)  # it has nothing left to relay
    assert tracing.reports() == [TraceState("camera", 1, (0,))]


def test_rules_of_the_kernel_that_share_the_address_of_a_traced_rule_move_with_it():
    """Else the kernel, and no trace, would see the packets that nearly match."""
    near, elsewhere = replace(CAMERA, port=5002), replace(CAMERA, destination="239.1.1.9")
    rules = {"camera": ([CAMERA], [TO_NEAR]), "near": ([near], [TO_NEAR]), "other": ([elsewhere], [TO_NEAR])}
    tracing = TraceHarness(planned(rules, in_kernel=set(rules)))
    tracing.ask("camera")
    assert set(tracing.harness.reconciler.desired.kernel.flows) == {elsewhere}
    tracing.harness.converge()
    assert tracing.reports() == [TraceState("camera", 1, (0,))]
    tracing.ask("camera", wanted=False)
    assert set(tracing.harness.reconciler.desired.kernel.flows) == {CAMERA, near, elsewhere}


def test_an_additional_worker_has_a_ring_of_its_own():
    tracing = TraceHarness(ONE_RULE)
    tracing.ask("camera")
    tracing.answer()
    tracing.harness.plan(RULE_ON_TWO)
    tracing.harness.hello(1)
    assert tracing.reports() == []
    assert tracing.answer() == [TraceState("camera", 1, (0, 1))]


def test_the_restart_of_a_worker_is_not_reported():
    tracing = TraceHarness(ONE_RULE)
    tracing.ask("camera")
    tracing.answer()
    tracing.harness.exit(0)
    tracing.harness.converge()
    assert tracing.reports() == []
    assert Trace("camera", 1) in tracing.harness.reconciler.running.workers[0].traces


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (RuleStatus(RuleState.DISABLED, "off"), "the rule is disabled: off"),
        (RuleStatus(RuleState.UNRESOLVED, "no device"), "the rule is unresolved: no device"),
        (None, "there is no rule camera"),
    ],
)
def test_a_rule_that_does_not_run_cannot_be_traced_and_the_report_says_why(status, reason):
    tracing = TraceHarness(Plan(ONE_RULE.state, {"camera": status} if status else {}))
    assert tracing.ask("camera") == [TraceState("camera", 1, (), reason)]
    assert tracing.requests.traces == frozenset()
    assert tracing.reports() == []


def test_a_rule_that_is_removed_ends_its_trace():
    tracing = TraceHarness(ONE_RULE)
    tracing.ask("camera")
    tracing.answer()
    tracing.harness.plan(planned({}))
    assert tracing.reports() == [TraceState("camera", 1, (), "there is no rule camera")]


def test_a_trace_that_a_worker_refuses_ends_and_the_report_says_why():
    tracing = TraceHarness(ONE_RULE)
    tracing.harness.broken.add(Trace("camera", 1))
    tracing.ask("camera")
    assert tracing.answer() == [TraceState("camera", 1, (), "no 0")]


def test_the_number_of_traced_rules_is_limited():
    traced, harness = TraceRequests(), ReconcilerHarness()
    for number in range(MAX_TRACES):
        traced.request(f"rule-{number}", True)
    traced.request("one-more", True)
    refused, *_ = traced.reports(harness.reconciler)
    assert refused == TraceState("one-more", 0, (), "16 rules are already traced; end one of these traces")


def test_all_requests_are_forgotten_when_the_control_process_has_exited():
    tracing = TraceHarness(ONE_RULE)
    tracing.ask("camera")
    tracing.requests.forget_all()
    assert tracing.requests.traces == frozenset()
    assert tracing.answer() == []
