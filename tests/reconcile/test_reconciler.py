"""Whatever happens, in whatever order, what runs comes to be what should run, by the rules of the house."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcrelay.model.actions import Acquire, Close, DeleteFlow, Open, SetFlow
from mcrelay.model.state import Ingress, Membership, RunningState, Trace
from mcrelay.reconcile.commands import Kill, Perform, Start
from tests.support.reconciler_harness import (
    CAMERA,
    FAR,
    NEAR,
    ONE_RULE,
    SENSORS,
    TO_FAR,
    TO_NEAR,
    TWO_RULES,
    World,
    settled,
)
from tests.support.strategies import (
    flows,
    planned,
    plans,
    reached,
    supervisor_resources,
    traces,
    worker_resources,
)

subjects = flows | worker_resources | supervisor_resources


def without_traces(state):
    resources = state.forwarding.resources - state.forwarding.traces
    return replace(state, forwarding=replace(state.forwarding, resources=resources))


class AnyHistory(RuleBasedStateMachine):
    """Plans, crashes, refusals, failures, silence and time, in any order."""

    def __init__(self):
        super().__init__()
        self.world = World()

    def choose(self, data, wanted):
        """Return one of the workers of a kind."""
        return data.draw(
            st.sampled_from(sorted(worker for worker, fake in self.world.workers.items() if wanted(fake)))
        )

    def any_worker(self, wanted=lambda fake: True):
        return any(wanted(fake) for fake in self.world.workers.values())

    @rule(plan=plans)
    def a_plan_is_accepted(self, plan):
        self.world.plan(plan)

    @rule(wanted=st.frozensets(traces, max_size=2))
    def rules_are_traced(self, wanted):
        self.world.trace(*wanted)

    @precondition(lambda self: self.any_worker(lambda fake: fake.confirmed is None))
    @rule(data=st.data())
    def a_worker_says_hello(self, data):
        self.world.hello(self.choose(data, lambda fake: fake.confirmed is None))

    @precondition(lambda self: self.any_worker(lambda fake: fake.batch))
    @rule(data=st.data())
    def a_worker_answers(self, data):
        self.world.answer(self.choose(data, lambda fake: fake.batch))

    @precondition(lambda self: self.any_worker(lambda fake: fake.batch))
    @rule(data=st.data(), index=st.integers(-1, 4))
    def a_worker_refuses(self, data, index):
        self.world.refuse(self.choose(data, lambda fake: fake.batch), index)

    @precondition(lambda self: self.any_worker())
    @rule(data=st.data())
    def a_worker_exits(self, data):
        self.world.exit(self.choose(data, lambda fake: True))

    @precondition(lambda self: self.world.performing)
    @rule()
    def the_supervisor_performs(self):
        self.world.perform()

    @rule(thing=subjects)
    def something_breaks(self, thing):
        self.world.broken.add(thing)

    @precondition(lambda self: self.world.broken)
    @rule()
    def all_is_mended(self):
        self.world.broken.clear()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.2, 1.0, 5.0, 11.0, 61.0]))
    def time_passes(self, seconds):
        self.world.wait(seconds)

    @precondition(lambda self: self.world.reconciler.next_deadline() is not None)
    @rule()
    def the_deadline_comes(self):
        self.world.wait(self.world.reconciler.next_deadline() - self.world.now)

    @precondition(lambda self: self.world.numbers)
    @rule(data=st.data(), refused=st.booleans())
    def an_old_answer_comes(self, data, refused):
        world = self.world
        worker, number = data.draw(st.sampled_from(world.numbers))
        if worker in world.workers and world.workers[worker].batch:
            number -= world.workers[worker].batch.number == number
        self.an_answer_that_says_nothing_comes(worker, number, refused)

    @rule(worker=st.integers(0, 3), number=st.integers(-1, 0) | st.integers(10**6), refused=st.booleans())
    def an_answer_that_says_nothing_comes(self, worker, number, refused):
        if refused:
            self.world.reconciler.batch_refused(worker, number, {0: "no"}, self.world.now)
        else:
            self.world.reconciler.batch_acknowledged(worker, number)
        self.world.look()

    @rule(worker=st.integers(0, 3))
    def the_end_of_a_worker_that_does_not_live_is_told(self, worker):
        if worker not in self.world.workers:
            self.world.reconciler.worker_exited(worker, self.world.now)
            self.world.look()

    @rule(worker=st.integers(0, 3))
    def a_second_hello_comes(self, worker):
        fake = self.world.workers.get(worker)
        if fake is None or fake.confirmed is not None:
            self.world.reconciler.worker_started(worker, self.world.now)
            self.world.look()

    @invariant()
    def all_rules_of_the_house_hold(self):
        self.world.check()

    def teardown(self):
        world = self.world
        world.broken.clear()
        world.converge()
        plan, desired = world.reconciler.plan, world.reconciler.desired
        assert world.reconciler.running == reached(desired)
        assert without_traces(desired) == plan.state
        assert {worker: fake.has for worker, fake in world.workers.items()} == reached(desired).workers
        assert world.has.resources == plan.state.resources
        assert world.reconciler.statuses() == world.reconciler.statuses_now() == plan.rules
        assert world.reconciler.failures.by_subject == {}
        assert world.reconciler.is_settled


TestAnyHistoryConverges = AnyHistory.TestCase
TestAnyHistoryConverges.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# The rules of the house, one by one.


def test_a_start_is_a_process_then_a_batch_then_the_groups():
    world = World()
    world.plan(ONE_RULE)
    assert world.since() == [Start(0)]
    world.hello(0)
    (batch,) = world.since()
    assert batch.actions == (
        Open(0, Ingress(1, 2048)),
        Open(0, NEAR),
        SetFlow(0, CAMERA, ONE_RULE.state.forwarding.flows[CAMERA]),
    )
    assert not world.reconciler.is_settled
    world.answer(0)
    assert world.since() == [Perform((Acquire(Membership(1, "239.1.1.1")),))]
    assert not world.reconciler.is_settled
    world.perform()
    assert world.since() == []
    assert world.reconciler.is_settled


def test_the_same_plan_again_does_nothing():
    world = settled(ONE_RULE)
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}))
    assert world.since() == []
    assert world.reconciler.is_settled


def test_without_a_plan_nothing_happens_however_long_one_waits():
    """A config that is rejected never becomes a plan, and no other event asks for anything new."""
    world = settled(TWO_RULES)
    for _ in range(100):
        world.wait(1000)
    assert world.since() == []
    assert world.reconciler.next_deadline() is None
    assert world.reconciler.running == reached(TWO_RULES.state)


def test_a_rule_that_is_added_leaves_the_others_alone():
    world = settled(ONE_RULE)
    world.plan(TWO_RULES)
    (batch,) = world.since()
    assert batch.actions == (
        Open(0, FAR),
        SetFlow(0, SENSORS, TWO_RULES.state.forwarding.flows[SENSORS]),
    )
    assert batch.generation == 2


def test_a_plan_that_comes_while_a_worker_is_busy_waits_for_its_answer():
    world = World()
    world.plan(ONE_RULE)
    world.hello(0)
    world.since()
    world.plan(TWO_RULES)
    assert world.since() == []
    world.answer(0)
    (batch,) = world.since()
    assert SetFlow(0, SENSORS, TWO_RULES.state.forwarding.flows[SENSORS]) in batch.actions


def test_a_dead_worker_comes_back_with_its_rules_and_keeps_its_groups():
    world = settled(ONE_RULE)
    world.exit(0)
    assert world.reconciler.running.memberships == ONE_RULE.state.memberships
    world.wait(0.1)
    world.hello(0)
    start, batch = world.since()
    assert start == Start(0)
    assert len(batch.actions) == 3
    world.converge()
    assert world.reconciler.running == reached(ONE_RULE.state)
    assert world.reconciler.processes[0].restarts == 1


@pytest.mark.parametrize("is_refusal", [False, True])
def test_an_answer_of_a_dead_worker_says_nothing(is_refusal):
    world = World()
    world.plan(ONE_RULE)
    world.hello(0)
    number = world.workers[0].batch.number
    world.exit(0)
    if is_refusal:
        world.reconciler.batch_refused(0, number, {0: "no"}, world.now)
    else:
        world.reconciler.batch_acknowledged(0, number)
    assert world.reconciler.running == RunningState()
    assert world.reconciler.failures.by_subject == {}
    world.check()


def test_a_worker_that_dies_whenever_it_starts_does_not_hold_up_the_groups():
    world = World()
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.hello(0)
    world.answer(0)
    assert not world.performing
    world.exit(1)
    assert world.performing


def test_a_worker_in_its_pause_holds_up_neither_the_others_nor_the_groups():
    world = settled(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.exit(1)
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR]), "sensors": ([SENSORS], [TO_FAR])}, count=2))
    world.answer(0)
    assert world.since()[-1] == Perform((Acquire(Membership(1, "239.1.1.2")),))


def test_the_groups_wait_for_every_worker_that_lives():
    world = World()
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.hello(0)
    world.hello(1)
    world.answer(0)
    assert not world.performing
    world.answer(1)
    assert world.performing


@pytest.mark.parametrize("index", [0, 1, -1, 99])
def test_a_worker_that_cannot_let_go_or_names_no_action_is_put_down(index):
    world = settled(TWO_RULES)
    world.plan(ONE_RULE)
    assert isinstance(world.since()[0].actions[0], DeleteFlow)
    world.refuse(0, index)
    assert world.since() == [Kill(0)]


# Traces.

CAMERA_TRACED = Trace("camera", 1)


def test_a_rule_is_traced_without_touching_it_and_then_no_longer():
    world = settled(TWO_RULES)
    world.trace(CAMERA_TRACED)
    (batch,) = world.since()
    assert batch.actions == (Open(0, CAMERA_TRACED),)
    world.answer(0)
    world.trace()
    (batch,) = world.since()
    assert batch.actions == (Close(0, CAMERA_TRACED),)


def test_the_same_traces_again_are_no_news():
    world = settled(TWO_RULES)
    world.trace(CAMERA_TRACED)
    world.answer(0)
    world.since()
    world.trace(CAMERA_TRACED)
    assert world.since() == []


def test_a_worker_that_comes_back_is_told_again_what_to_trace_after_its_flows():
    world = settled(ONE_RULE)
    world.trace(CAMERA_TRACED)
    world.answer(0)
    world.exit(0)
    world.wait(0.1)
    world.hello(0)
    assert world.since()[-1].actions[-1] == Open(0, CAMERA_TRACED)


def test_a_trace_ends_before_its_rule_does():
    world = settled(TWO_RULES)
    world.trace(Trace("sensors", 1))
    world.answer(0)
    world.since()
    world.plan(ONE_RULE)
    (batch,) = world.since()
    assert batch.actions[:2] == (Close(0, Trace("sensors", 1)), DeleteFlow(0, SENSORS))


def test_a_rule_that_does_not_run_is_not_traced():
    world = settled(ONE_RULE)
    world.trace(Trace("sensors", 1))
    assert world.since() == []


def test_a_trace_that_a_worker_refuses_harms_no_rule():
    world = settled(ONE_RULE)
    world.broken.add(CAMERA_TRACED)
    world.trace(CAMERA_TRACED)
    world.answer(0)
    assert world.reconciler.statuses_now() == ONE_RULE.rules
    assert world.reconciler.failures.by_subject[CAMERA_TRACED].reason == "no 0"
