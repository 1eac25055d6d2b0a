"""After any events in any order the running state becomes the desired state, by the rules of the model."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcrelay.model.actions import Acquire, Close, DeleteFlow, Open, SetFlow
from mcrelay.model.state import Flow, Ingress, Membership, RunningState, Trace
from mcrelay.reconcile.commands import Kill, Perform, SendBatch, Start
from mcrelay.reconcile.placement import move_to_workers
from tests.support.reconciler_harness import (
    CAMERA,
    FAR,
    NEAR,
    ONE_RULE,
    SENSORS,
    TO_FAR,
    TO_NEAR,
    TWO_RULES,
    ReconcilerHarness,
    settle,
)
from tests.support.strategies import (
    flows,
    planned,
    plans,
    running_as,
    supervisor_resources,
    traces,
    worker_resources,
)

ELSEWHERE = Flow(9, "239.1.1.1", 5001)
subjects = flows | worker_resources | supervisor_resources


def without_traces(state):
    resources = state.forwarding.resources - state.forwarding.traces
    return replace(state, forwarding=replace(state.forwarding, resources=resources))


def with_same_addresses(state, traced):
    """Return the traced rules, and all that take packets to an address of one of them."""
    taken = {(flow.ifindex, flow.destination) for flow, route in state.flows.items() if route.rule in traced}
    flows = state.flows.items()
    return traced | {route.rule for flow, route in flows if (flow.ifindex, flow.destination) in taken}


class AnyHistory(RuleBasedStateMachine):
    """Plans, crashes, refusals, failures, silence and time, in any order."""

    def __init__(self):
        super().__init__()
        self.harness = ReconcilerHarness()

    def choose(self, data, wanted):
        """Return one of the workers of a kind."""
        return data.draw(
            st.sampled_from(sorted(worker for worker, fake in self.harness.workers.items() if wanted(fake)))
        )

    def any_worker(self, wanted=lambda fake: True):
        return any(wanted(fake) for fake in self.harness.workers.values())

    @rule(plan=plans)
    def a_plan_is_accepted(self, plan):
        self.harness.plan(plan)

    @rule(wanted=st.frozensets(traces, max_size=2))
    def rules_are_traced(self, wanted):
        self.harness.trace(*wanted)

    @precondition(lambda self: self.any_worker(lambda fake: fake.confirmed is None))
    @rule(data=st.data())
    def a_worker_says_hello(self, data):
        self.harness.hello(self.choose(data, lambda fake: fake.confirmed is None))

    @precondition(lambda self: self.any_worker(lambda fake: fake.batch))
    @rule(data=st.data())
    def a_worker_answers(self, data):
        self.harness.answer(self.choose(data, lambda fake: fake.batch))

    @precondition(lambda self: self.any_worker(lambda fake: fake.batch))
    @rule(data=st.data(), index=st.integers(-1, 4))
    def a_worker_refuses(self, data, index):
        self.harness.refuse(self.choose(data, lambda fake: fake.batch), index)

    @precondition(lambda self: self.any_worker())
    @rule(data=st.data())
    def a_worker_exits(self, data):
        self.harness.exit(self.choose(data, lambda fake: True))

    @precondition(lambda self: self.harness.performing)
    @rule()
    def the_supervisor_performs(self):
        self.harness.perform()

    @rule(thing=subjects)
    def something_breaks(self, thing):
        self.harness.broken.add(thing)

    @precondition(lambda self: self.harness.broken)
    @rule()
    def everything_works_again(self):
        self.harness.broken.clear()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.2, 1.0, 5.0, 11.0, 61.0]))
    def time_passes(self, seconds):
        self.harness.wait(seconds)

    @precondition(lambda self: self.harness.reconciler.next_deadline() is not None)
    @rule()
    def the_deadline_comes(self):
        self.harness.wait(self.harness.reconciler.next_deadline() - self.harness.now)

    @precondition(lambda self: self.harness.numbers)
    @rule(data=st.data(), refused=st.booleans())
    def an_old_answer_comes(self, data, refused):
        harness = self.harness
        worker, number = data.draw(st.sampled_from(harness.numbers))
        if worker in harness.workers and harness.workers[worker].batch:
            number -= harness.workers[worker].batch.number == number
        self.an_answer_to_no_batch_comes(worker, number, refused)

    @rule(worker=st.integers(0, 3), number=st.integers(-1, 0) | st.integers(10**6), refused=st.booleans())
    def an_answer_to_no_batch_comes(self, worker, number, refused):
        if refused:
            self.harness.reconciler.batch_refused(worker, number, {0: "no"}, self.harness.now)
        else:
            self.harness.reconciler.batch_acknowledged(worker, number)
        self.harness.take_commands()

    @rule(worker=st.integers(0, 3))
    def the_exit_of_a_worker_that_does_not_run_is_reported(self, worker):
        if worker not in self.harness.workers:
            self.harness.reconciler.worker_exited(worker, self.harness.now)
            self.harness.take_commands()

    @rule(worker=st.integers(0, 3))
    def a_second_hello_comes(self, worker):
        fake = self.harness.workers.get(worker)
        if fake is None or fake.confirmed is not None:
            self.harness.reconciler.worker_started(worker, self.harness.now)
            self.harness.take_commands()

    @invariant()
    def the_rules_of_the_model_hold(self):
        self.harness.check()

    def teardown(self):
        harness = self.harness
        harness.broken.clear()
        harness.converge()
        plan, desired = harness.reconciler.plan, harness.reconciler.desired
        assert harness.reconciler.running == running_as(desired)
        traced = {trace.rule for trace in desired.forwarding.traces}
        assert without_traces(desired) == move_to_workers(plan.state, with_same_addresses(plan.state, traced))
        assert {worker: fake.has for worker, fake in harness.workers.items()} == running_as(desired).workers
        assert harness.has.resources == plan.state.resources
        assert harness.reconciler.statuses() == harness.reconciler.statuses_now() == plan.rules
        assert harness.reconciler.failures.by_subject == {}
        assert harness.reconciler.is_settled


TestAnyHistoryConverges = AnyHistory.TestCase
TestAnyHistoryConverges.settings = settings(max_examples=75, stateful_step_count=40, deadline=None)


# The rules of the model, one by one.


def test_a_start_is_a_process_then_a_batch_then_the_groups():
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    assert harness.since() == [Start(0)]
    harness.hello(0)
    (batch,) = harness.since()
    assert batch.actions == (
        Open(0, Ingress(1, 2048)),
        Open(0, NEAR),
        SetFlow(0, CAMERA, ONE_RULE.state.forwarding.flows[CAMERA]),
    )
    assert not harness.reconciler.is_settled
    harness.answer(0)
    assert harness.since() == [Perform((Acquire(Membership(1, "239.1.1.1")),))]
    assert not harness.reconciler.is_settled
    harness.perform()
    assert harness.since() == []
    assert harness.reconciler.is_settled


def test_the_same_plan_again_does_nothing():
    harness = settle(ONE_RULE)
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}))
    assert harness.since() == []
    assert harness.reconciler.is_settled


def test_without_a_plan_nothing_happens_at_any_time():
    """A rejected configuration never becomes a plan, and without a plan no event leads to a command."""
    harness = settle(TWO_RULES)
    for _ in range(100):
        harness.wait(1000)
    assert harness.since() == []
    assert harness.reconciler.next_deadline() is None
    assert harness.reconciler.running == running_as(TWO_RULES.state)


def test_a_new_rule_touches_no_other_rule():
    harness = settle(ONE_RULE)
    harness.plan(TWO_RULES)
    (batch,) = harness.since()
    assert batch.actions == (
        Open(0, FAR),
        SetFlow(0, SENSORS, TWO_RULES.state.forwarding.flows[SENSORS]),
    )
    assert batch.generation == 2


def test_a_plan_that_comes_while_a_worker_is_busy_waits_for_its_answer():
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    harness.hello(0)
    harness.since()
    harness.plan(TWO_RULES)
    assert harness.since() == []
    harness.answer(0)
    (batch,) = harness.since()
    assert SetFlow(0, SENSORS, TWO_RULES.state.forwarding.flows[SENSORS]) in batch.actions


def test_a_dead_worker_is_restarted_with_its_rules_and_the_groups_stay_joined():
    harness = settle(ONE_RULE)
    harness.exit(0)
    assert harness.reconciler.running.memberships == ONE_RULE.state.memberships
    harness.wait(0.1)
    harness.hello(0)
    start, batch = harness.since()
    assert start == Start(0)
    assert len(batch.actions) == 3
    harness.converge()
    assert harness.reconciler.running == running_as(ONE_RULE.state)
    assert harness.reconciler.processes[0].restarts == 1


def test_what_went_with_a_device_is_opened_again_on_another_one_with_its_number():
    harness = settle(ONE_RULE)
    harness.reconciler.links_removed({1})
    harness.wait(0)
    (batch,) = harness.since()
    assert batch.actions == (Open(0, Ingress(1, 2048)),)
    harness.answer(0)
    assert harness.since() == [Perform((Acquire(Membership(1, "239.1.1.1")),))]
    harness.converge()
    assert harness.reconciler.running == running_as(ONE_RULE.state)


def test_the_ring_of_a_device_that_is_gone_is_closed():
    harness = settle(planned({"camera": ([CAMERA], [TO_NEAR]), "sensors": ([ELSEWHERE], [TO_NEAR])}))
    harness.reconciler.links_removed({1})
    harness.plan(planned({"sensors": ([ELSEWHERE], [TO_NEAR])}))
    (batch,) = (command for command in harness.since() if isinstance(command, SendBatch))
    assert batch.actions == (DeleteFlow(0, CAMERA), Close(0, Ingress(1, 0)))
    harness.converge()
    assert harness.reconciler.running.memberships == {Membership(9, "239.1.1.1")}


def test_a_ring_that_a_batch_opened_before_its_device_went_is_opened_again():
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    harness.hello(0)
    harness.since()
    harness.reconciler.links_removed({1})
    harness.answer(0)
    (batch,) = harness.since()
    assert batch.actions == (Open(0, Ingress(1, 2048)),)
    harness.converge()
    assert harness.reconciler.running == running_as(ONE_RULE.state)


@pytest.mark.parametrize("is_refusal", [False, True])
def test_an_answer_of_a_dead_worker_is_ignored(is_refusal):
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    harness.hello(0)
    number = harness.workers[0].batch.number
    harness.exit(0)
    if is_refusal:
        harness.reconciler.batch_refused(0, number, {0: "no"}, harness.now)
    else:
        harness.reconciler.batch_acknowledged(0, number)
    assert harness.reconciler.running == RunningState()
    assert harness.reconciler.failures.by_subject == {}
    harness.check()


def test_groups_do_not_wait_for_a_worker_that_dies_at_every_start():
    harness = ReconcilerHarness()
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    harness.hello(0)
    harness.answer(0)
    assert not harness.performing
    harness.exit(1)
    assert harness.performing


def test_neither_groups_nor_other_workers_wait_for_a_worker_in_its_pause():
    harness = settle(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    harness.exit(1)
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR]), "sensors": ([SENSORS], [TO_FAR])}, count=2))
    harness.answer(0)
    assert harness.since()[-1] == Perform((Acquire(Membership(1, "239.1.1.2")),))


def test_the_groups_wait_for_every_worker_that_runs():
    harness = ReconcilerHarness()
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    harness.hello(0)
    harness.hello(1)
    harness.answer(0)
    assert not harness.performing
    harness.answer(1)
    assert harness.performing


@pytest.mark.parametrize("index", [0, 1, -1, 99])
def test_a_worker_that_cannot_close_something_or_names_no_action_is_killed(index):
    harness = settle(TWO_RULES)
    harness.plan(ONE_RULE)
    assert isinstance(harness.since()[0].actions[0], DeleteFlow)
    harness.refuse(0, index)
    assert harness.since() == [Kill(0)]


# Traces.

CAMERA_TRACED = Trace("camera", 1)


def test_a_trace_begins_and_ends_without_touching_the_rule():
    harness = settle(TWO_RULES)
    harness.trace(CAMERA_TRACED)
    (batch,) = harness.since()
    assert batch.actions == (Open(0, CAMERA_TRACED),)
    harness.answer(0)
    harness.trace()
    (batch,) = harness.since()
    assert batch.actions == (Close(0, CAMERA_TRACED),)


def test_the_same_traces_again_need_no_command():
    harness = settle(TWO_RULES)
    harness.trace(CAMERA_TRACED)
    harness.answer(0)
    harness.since()
    harness.trace(CAMERA_TRACED)
    assert harness.since() == []


def test_a_restarted_worker_opens_its_traces_again_after_its_flows():
    harness = settle(ONE_RULE)
    harness.trace(CAMERA_TRACED)
    harness.answer(0)
    harness.exit(0)
    harness.wait(0.1)
    harness.hello(0)
    assert harness.since()[-1].actions[-1] == Open(0, CAMERA_TRACED)


def test_a_trace_ends_before_its_rule_does():
    harness = settle(TWO_RULES)
    harness.trace(Trace("sensors", 1))
    harness.answer(0)
    harness.since()
    harness.plan(ONE_RULE)
    (batch,) = harness.since()
    assert batch.actions[:2] == (Close(0, Trace("sensors", 1)), DeleteFlow(0, SENSORS))


def test_a_rule_that_does_not_run_is_not_traced():
    harness = settle(ONE_RULE)
    harness.trace(Trace("sensors", 1))
    assert harness.since() == []


def test_a_trace_that_a_worker_refuses_harms_no_rule():
    harness = settle(ONE_RULE)
    harness.broken.add(CAMERA_TRACED)
    harness.trace(CAMERA_TRACED)
    harness.answer(0)
    assert harness.reconciler.statuses_now() == ONE_RULE.rules
    assert harness.reconciler.failures.by_subject[CAMERA_TRACED].reason == "no 0"
