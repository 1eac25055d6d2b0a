"""Who asks for a trace is told when its rings can be read, or why there are none."""

import pytest

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import Trace
from mcrelay.protocol.control import TraceState
from mcrelay.reconcile.plan import Plan
from mcrelay.reconcile.trace_requests import MAX_TRACES, TraceRequests
from tests.support.reconciler_harness import CAMERA, ONE_RULE, TO_NEAR, World, settled
from tests.support.strategies import planned, reached

RULE_ON_TWO = planned({"camera": ([CAMERA], [TO_NEAR])}, count=2)


class Desk:
    """A world, and the traces that somebody asks for in it."""

    def __init__(self, plan):
        self.world = settled(plan)
        self.traced = TraceRequests()

    def ask(self, rule, wanted=True):
        self.traced.request(rule, wanted)
        return self.news()

    def news(self):
        self.world.trace(*self.traced.traces)
        return self.traced.reports(self.world.reconciler)

    def answer(self):
        for worker, fake in self.world.workers.items():
            if fake.batch:
                self.world.answer(worker)
        return self.news()


def test_a_trace_is_told_once_every_worker_has_confirmed_it():
    desk = Desk(RULE_ON_TWO)
    assert desk.ask("camera") == []
    desk.world.answer(0)
    assert desk.news() == []
    desk.world.answer(1)
    assert desk.news() == [TraceState("camera", 1, (0, 1))]
    assert desk.news() == []


def test_who_asks_again_is_told_again_of_the_same_trace():
    desk = Desk(ONE_RULE)
    desk.ask("camera")
    desk.answer()
    assert desk.ask("camera") == [TraceState("camera", 1, (0,))]


def test_a_trace_that_is_wanted_no_more_ends_in_the_workers_and_the_next_one_is_another():
    desk = Desk(ONE_RULE)
    desk.ask("camera")
    desk.answer()
    assert desk.ask("camera", wanted=False) == []
    desk.answer()
    assert desk.world.reconciler.running == reached(ONE_RULE.state)
    desk.ask("camera")
    assert desk.answer() == [TraceState("camera", 2, (0,))]


def test_the_end_of_a_trace_that_there_is_not_means_nothing():
    assert Desk(ONE_RULE).ask("camera", wanted=False) == []


def test_a_worker_that_is_away_is_not_waited_for():
    desk = Desk(RULE_ON_TWO)
    desk.world.exit(1)
    desk.ask("camera")
    assert desk.answer() == [TraceState("camera", 1, (0, 1))]


def test_a_paused_rule_can_be_traced_from_its_return_on():
    desk = Desk(ONE_RULE)
    desk.world.exit(0)
    assert desk.ask("camera") == [TraceState("camera", 1, (0,))]


def test_a_worker_that_joins_the_others_brings_a_ring_more():
    desk = Desk(ONE_RULE)
    desk.ask("camera")
    desk.answer()
    desk.world.plan(RULE_ON_TWO)
    desk.world.hello(1)
    assert desk.news() == []
    assert desk.answer() == [TraceState("camera", 1, (0, 1))]


def test_a_worker_that_dies_and_comes_back_is_no_news():
    desk = Desk(ONE_RULE)
    desk.ask("camera")
    desk.answer()
    desk.world.exit(0)
    desk.world.converge()
    assert desk.news() == []
    assert Trace("camera", 1) in desk.world.reconciler.running.workers[0].traces


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (RuleStatus(RuleState.DISABLED, "off"), "the rule is disabled: off"),
        (RuleStatus(RuleState.UNRESOLVED, "no device"), "the rule is unresolved: no device"),
        (None, "there is no rule camera"),
    ],
)
def test_a_rule_that_does_not_run_cannot_be_traced_and_the_reason_is_told(verdict, reason):
    desk = Desk(Plan(ONE_RULE.state, {"camera": verdict} if verdict else {}))
    assert desk.ask("camera") == [TraceState("camera", 1, (), reason)]
    assert desk.traced.traces == frozenset()
    assert desk.news() == []


def test_a_rule_that_is_removed_ends_its_trace():
    desk = Desk(ONE_RULE)
    desk.ask("camera")
    desk.answer()
    desk.world.plan(planned({}))
    assert desk.news() == [TraceState("camera", 1, (), "there is no rule camera")]


def test_a_trace_that_a_worker_refuses_is_over_and_the_reason_is_told():
    desk = Desk(ONE_RULE)
    desk.world.broken.add(Trace("camera", 1))
    desk.ask("camera")
    assert desk.answer() == [TraceState("camera", 1, (), "no 0")]


def test_so_many_rules_are_traced_and_no_more():
    traced, world = TraceRequests(), World()
    for number in range(MAX_TRACES):
        traced.request(f"rule-{number}", True)
    traced.request("one-more", True)
    refused, *_ = traced.reports(world.reconciler)
    assert refused == TraceState("one-more", 0, (), "16 rules are traced already; end one of those")


def test_all_is_forgotten_when_whoever_asked_is_gone():
    desk = Desk(ONE_RULE)
    desk.ask("camera")
    desk.traced.forget_all()
    assert desk.traced.traces == frozenset()
    assert desk.answer() == []
