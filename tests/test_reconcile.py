"""Whatever happens, in whatever order, what runs comes to be what should run, by the rules of the house.

A fake worker is `state.applied`, a fake clock is a number.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcrelay.command import Batch, Kill, Perform, Start, Stop
from mcrelay.failures import without
from mcrelay.plan import Plan, RuleState, Verdict, claim
from mcrelay.reconcile import Reconciler
from mcrelay.state import (
    CloseIngress,
    DeleteFlow,
    Egress,
    Flow,
    Hold,
    Ingress,
    Join,
    Leave,
    Membership,
    OpenEgress,
    OpenIngress,
    Output,
    PortHold,
    Release,
    SetFlow,
    StartWorker,
    State,
    WorkerState,
    applied,
)
from tests.strategies import egresses, flows, holds, ingresses, memberships, planned, plans

subjects = ingresses | egresses | flows | memberships | holds


def subject(action):
    """Return what an action adds, or what the supervisor lets go of."""
    match action:
        case OpenIngress(_, thing) | OpenEgress(_, thing) | SetFlow(_, thing, _):
            return thing
        case Join(thing) | Leave(thing) | Hold(thing) | Release(thing):
            return thing


@dataclass
class FakeWorker:
    """A process: what it has, what it has said so far, and what it was told."""

    has: WorkerState = field(default_factory=WorkerState)
    confirmed: WorkerState | None = None  # None until it said hello
    batch: Batch | None = None
    is_stopped: bool = False
    is_killed: bool = False  # but what it said before may be heard still


@dataclass
class World:
    """All that is around a reconciler. It checks each command, and carries it out when asked to."""

    reconciler: Reconciler = field(default_factory=Reconciler)
    now: float = 1000.0
    workers: dict[int, FakeWorker] = field(default_factory=dict)
    has: State = field(default_factory=State)  # memberships and holds
    performing: Perform | None = None
    broken: set = field(default_factory=set)
    generation: int = 0
    numbers: list[tuple[int, int]] = field(default_factory=list)  # worker, batch
    commands: list = field(default_factory=list)

    # What happens.

    def plan(self, plan):
        self.generation += 1
        self.reconciler.planned(plan, self.generation)
        self.look()

    def hello(self, worker):
        self.workers[worker].confirmed = WorkerState()
        self.reconciler.worker_started(worker, self.now)
        self.look()

    def answer(self, worker):
        """A worker carries out its batch, or refuses it for what is broken."""
        fake = self.workers[worker]
        batch = fake.batch
        for index, action in enumerate(batch.actions):
            if subject(action) in self.broken:
                self.refuse(worker, index)
                return
        fake.batch = None
        fake.has = fake.confirmed = applied(State({worker: fake.has}), batch.actions).workers[worker]
        self.reconciler.acknowledged(worker, batch.number)
        self.look()

    def refuse(self, worker, index):
        batch, self.workers[worker].batch = self.workers[worker].batch, None
        self.reconciler.refused(worker, batch.number, index, f"no {index}", self.now)
        self.look()

    def exit(self, worker):
        del self.workers[worker]
        self.reconciler.worker_exited(worker, self.now)
        self.look()

    def perform(self):
        actions, self.performing = self.performing.actions, None
        failed = {at: f"no {action}" for at, action in enumerate(actions) if subject(action) in self.broken}
        self.has = applied(self.has, (action for at, action in enumerate(actions) if at not in failed))
        self.reconciler.performed(failed, self.now)
        self.look()

    def wait(self, seconds):
        self.now += seconds
        self.look()

    def converge(self):
        """Answer everything, and let time pass when there is nothing to answer."""
        for _ in range(500):
            if self.performing:
                self.perform()
            elif any(self._moves(worker) for worker in list(self.workers)):
                continue
            elif (deadline := self.reconciler.next_deadline()) is not None:
                self.wait(deadline - self.now)
            else:
                return
        pytest.fail("it does not come to rest")

    def _moves(self, worker):
        fake = self.workers[worker]
        if fake.is_stopped or fake.is_killed:
            self.exit(worker)
        elif fake.confirmed is None:
            self.hello(worker)
        elif fake.batch:
            self.answer(worker)
        else:
            return False
        return True

    # What is commanded.

    def look(self):
        """Take every command, as the supervisor's loop does after each event."""
        for _ in range(5):
            commands = self.reconciler.due(self.now)
            if not commands:
                return
            for command in commands:
                self.commands.append(command)
                self._take(command)
        pytest.fail(f"commands without end: {commands}")

    def _take(self, command):
        match command:
            case Start(worker):
                assert worker not in self.workers
                self.workers[worker] = FakeWorker()
            case Stop(worker):
                assert self.workers[worker].confirmed is not None
                assert not self.workers[worker].is_stopped
                self.workers[worker].is_stopped = True
            case Kill(worker):
                self.workers[worker].is_killed = True
            case Batch(worker):
                self._check_batch(command)
                self.workers[worker].batch = command
                self.numbers.append((worker, command.number))
            case Perform():
                assert self.performing is None
                self._check_performance(command)
                self.performing = command

    def _check_batch(self, batch):
        fake = self.workers[batch.worker]
        assert fake.confirmed is not None, "only to a worker that said hello"
        assert fake.batch is None, "one at a time"
        assert not any(number >= batch.number for _, number in self.numbers), "numbers are never used again"
        assert batch.generation == self.generation
        assert batch.actions
        assert {action.worker for action in batch.actions} == {batch.worker}
        wanted = self.reconciler.plan.state.workers.get(batch.worker, WorkerState())
        for action in batch.actions:
            if isinstance(action, SetFlow | DeleteFlow) and action.flow in fake.confirmed.flows:
                route = fake.confirmed.flows[action.flow]
                is_as_planned = wanted.flows.get(action.flow) == route
                needs = {action.flow, *(output.egress for output in route.outputs)}
                needs |= {one for one in wanted.ingress if one.ifindex == action.flow.ifindex}
                assert not is_as_planned or needs & self.reconciler.failures.by_subject.keys(), (
                    "what is as it should be is touched only when something it needs has failed"
                )

    def _check_performance(self, performance):
        assert performance.actions
        if any(isinstance(action, Join | Hold) for action in performance.actions):
            for worker, fake in self.workers.items():
                if worker in self.possible.workers and not fake.is_stopped:
                    assert fake.confirmed == self.possible.workers[worker], "the flows first"

    @property
    def possible(self):
        """What is wanted, less what failed and is not tried at the moment."""
        failures = self.reconciler.failures.by_subject.items()
        return without(
            self.reconciler.plan.state, {thing for thing, failure in failures if failure.retry_at is not None}
        )

    def check(self):
        running = self.reconciler.running
        assert running.workers == {
            worker: fake.confirmed for worker, fake in self.workers.items() if fake.confirmed is not None
        }
        assert (running.memberships, running.holds) == (self.has.memberships, self.has.holds)
        deadline = self.reconciler.next_deadline()
        assert deadline is None or deadline > self.now, "the loop would spin"
        assert self.reconciler.due(self.now) == [], "nothing is returned twice"
        assert self.reconciler.verdicts().keys() == self.reconciler.plan.rules.keys()

    def since(self):
        """Return the commands since the last call."""
        commands, self.commands = self.commands, []
        return commands


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
            self.world.reconciler.refused(worker, number, 0, "no", self.world.now)
        else:
            self.world.reconciler.acknowledged(worker, number)
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
        plan = world.reconciler.plan
        assert world.reconciler.running == plan.state
        assert {worker: fake.has for worker, fake in world.workers.items()} == dict(plan.state.workers)
        assert (world.has.memberships, world.has.holds) == (plan.state.memberships, plan.state.holds)
        assert world.reconciler.verdicts() == plan.rules
        assert world.reconciler.failures.by_subject == {}
        assert world.reconciler.settled


TestAnyHistoryConverges = AnyHistory.TestCase
TestAnyHistoryConverges.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# The rules of the house, one by one.

NEAR, FAR = Egress(2, "10.9.2.1"), Egress(3, "10.9.3.1")
TO_NEAR = Output("near", NEAR, "239.2.2.2", 6001, 64, "copy")
TO_FAR = Output("far", FAR, "239.3.3.3", 6001, 64, "copy")
CAMERA, SENSORS = Flow(1, "239.1.1.1", 5001), Flow(1, "239.1.1.2", 5001)
LINE_A, LINE_B = Flow(4, "232.1.1.1", 5001, "10.0.0.1"), Flow(4, "232.1.1.1", 5001, "10.0.0.2")
TUNNEL = Flow(5, "10.0.0.9", 6001)
ONE_RULE = planned({"camera": ([CAMERA], [TO_NEAR])})
TWO_RULES = planned({"camera": ([CAMERA], [TO_NEAR]), "sensors": ([SENSORS], [TO_FAR])})


def settled(plan):
    world = World()
    world.plan(plan)
    world.converge()
    world.since()
    return world


def failing(plan, *broken):
    """Return a world in which these things do not work, at the moment when all else has been done."""
    world = World(broken=set(broken))
    world.plan(plan)
    world.hello(0)
    while world.workers[0].batch:
        world.answer(0)
    if world.performing:
        world.perform()
    return world


def test_a_start_is_a_process_then_a_batch_then_the_groups():
    world = World()
    world.plan(ONE_RULE)
    assert world.since() == [Start(0)]
    world.hello(0)
    (batch,) = world.since()
    assert batch.actions == (
        OpenIngress(0, Ingress(1, 2048)),
        OpenEgress(0, NEAR),
        SetFlow(0, CAMERA, ONE_RULE.state.workers[0].flows[CAMERA]),
    )
    assert not world.reconciler.settled
    world.answer(0)
    assert world.since() == [Perform((Join(Membership(1, "239.1.1.1")),))]
    assert not world.reconciler.settled
    world.perform()
    assert world.since() == []
    assert world.reconciler.settled


def test_the_same_plan_again_does_nothing():
    world = settled(ONE_RULE)
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}))
    assert world.since() == []
    assert world.reconciler.settled


def test_without_a_plan_nothing_happens_however_long_one_waits():
    """A config that is rejected never becomes a plan, and no other event asks for anything new."""
    world = settled(TWO_RULES)
    for _ in range(100):
        world.wait(1000)
    assert world.since() == []
    assert world.reconciler.next_deadline() is None
    assert world.reconciler.running == TWO_RULES.state


def test_a_rule_that_is_added_leaves_the_others_alone():
    world = settled(ONE_RULE)
    world.plan(TWO_RULES)
    (batch,) = world.since()
    assert batch.actions == (
        OpenEgress(0, FAR),
        SetFlow(0, SENSORS, TWO_RULES.state.workers[0].flows[SENSORS]),
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
    assert SetFlow(0, SENSORS, TWO_RULES.state.workers[0].flows[SENSORS]) in batch.actions


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
    assert world.reconciler.running == ONE_RULE.state
    assert world.reconciler.restarts == {0: 1}


def pause_of_death(world):
    """Let worker 0 die, and return the seconds until it starts again."""
    died = world.now
    world.exit(0)
    world.wait(world.reconciler.next_deadline() - world.now)
    assert 0 in world.workers
    return round(world.now - died, 3)


def test_pauses_double_from_a_tenth_of_a_second_to_ten():
    world = settled(ONE_RULE)
    pauses = [pause_of_death(world) for _ in range(9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_after_a_minute_of_life_a_death_counts_as_the_first():
    world = settled(ONE_RULE)
    assert [pause_of_death(world) for _ in range(3)] == [0.1, 0.2, 0.4]
    world.hello(0)
    world.converge()
    world.wait(59.9)
    assert pause_of_death(world) == 0.8
    world.hello(0)
    world.converge()
    world.wait(60)
    assert pause_of_death(world) == 0.1


def test_a_worker_in_its_pause_holds_up_neither_the_others_nor_the_groups():
    world = settled(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.exit(1)
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR]), "sensors": ([SENSORS], [TO_FAR])}, count=2))
    world.answer(0)
    assert world.since()[-1] == Perform((Join(Membership(1, "239.1.1.2")),))


def test_the_groups_wait_for_every_worker_that_lives():
    world = World()
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.hello(0)
    world.hello(1)
    world.answer(0)
    assert not world.performing
    world.answer(1)
    assert world.performing


@pytest.mark.parametrize("when", ["it starts", "it has a batch", "it ends"])
def test_a_worker_that_does_not_answer_is_killed_and_killed_again(when):
    world = World()
    world.plan(ONE_RULE)
    if when != "it starts":
        world.hello(0)
    if when == "it ends":
        world.converge()
        world.plan(Plan())
        assert Stop(0) in world.since()
        world.perform()
    world.since()
    world.wait(9.9)
    assert world.since() == []
    world.wait(0.1)
    assert world.since() == [Kill(0)]
    world.wait(10)
    assert world.since() == [Kill(0)]


def test_a_worker_that_is_not_wanted_any_more_ends_and_stays_away():
    world = settled(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.plan(ONE_RULE)
    assert world.since() == [Stop(1)]
    assert world.reconciler.is_ending(1)
    assert not world.reconciler.is_ending(0)
    assert not world.reconciler.settled
    world.exit(1)
    assert world.reconciler.settled
    assert world.reconciler.next_deadline() is None
    assert world.reconciler.restarts == {0: 0, 1: 0}


def test_a_worker_that_is_wanted_again_while_it_ends_starts_again_at_once():
    world = settled(ONE_RULE)
    world.plan(Plan())
    world.plan(ONE_RULE)
    world.exit(0)
    assert world.since() == [Stop(0), Perform((Leave(Membership(1, "239.1.1.1")),)), Start(0)]


@pytest.mark.parametrize("index", [0, 1, -1, 99])
def test_a_worker_that_cannot_let_go_or_names_no_action_is_put_down(index):
    world = settled(TWO_RULES)
    world.plan(ONE_RULE)
    assert isinstance(world.since()[0].actions[0], DeleteFlow)
    world.refuse(0, index)
    assert world.since() == [Kill(0)]


def test_what_was_refused_is_left_out_and_all_else_is_done():
    world = failing(TWO_RULES, FAR)
    assert world.workers[0].has.flows.keys() == {CAMERA}
    assert world.has.memberships == TWO_RULES.state.memberships
    assert world.reconciler.settled


def pauses_of_failure(world, count):
    """Return the seconds between the tries of what is broken."""
    pauses = []
    for _ in range(count):
        pauses.append(world.reconciler.next_deadline() - world.now)
        world.wait(pauses[-1])
        while world.workers[0].batch:
            world.answer(0)
        if world.performing:
            world.perform()
    return pauses


@pytest.mark.parametrize("thing", [NEAR, CAMERA, Ingress(1, 2048), Membership(1, "239.1.1.1")])
def test_what_failed_is_tried_again_after_one_second_doubling_to_thirty(thing):
    world = failing(ONE_RULE, thing)
    assert pauses_of_failure(world, 7) == [1, 2, 4, 8, 16, 30, 30]
    world.broken.clear()
    world.converge()
    assert world.reconciler.running == ONE_RULE.state
    assert world.reconciler.failures.by_subject == {}


def test_a_new_plan_tries_at_once_what_had_failed():
    world = failing(ONE_RULE, Membership(1, "239.1.1.1"))
    world.since()
    world.plan(ONE_RULE)
    assert world.since() == [Perform((Join(Membership(1, "239.1.1.1")),))]


def test_a_group_that_cannot_be_left_is_tried_again_after_a_pause_and_not_at_once():
    world = settled(ONE_RULE)
    world.broken.add(Membership(1, "239.1.1.1"))
    world.plan(planned({"sensors": ([SENSORS], [TO_NEAR])}))
    world.answer(0)
    world.perform()
    assert not world.performing
    assert pauses_of_failure(world, 3) == [1, 2, 4]


def test_what_one_of_two_workers_refuses_is_not_tried_at_once_because_the_other_could():
    world = World()
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.hello(0)
    world.hello(1)
    world.refuse(1, 0)
    world.answer(0)
    for _ in range(5):
        for worker in (0, 1):
            if world.workers[worker].batch:
                world.answer(worker)
    assert world.reconciler.failures.by_subject.keys() == {Ingress(1, 2048)}
    assert world.reconciler.next_deadline() == world.now + 1
    world.converge()
    assert world.reconciler.failures.by_subject == {}


# The verdicts.

MANY = planned(
    {
        "camera": ([CAMERA], [TO_NEAR, TO_FAR]),
        "sensors": ([SENSORS], [TO_FAR]),
        "feed": ([LINE_A, LINE_B], [TO_NEAR]),
        "tunnel": ([TUNNEL], [TO_NEAR]),
    }
)
WELL = Verdict(RuleState.ACTIVE)


def states(world):
    return {
        name: str(verdict.state) for name, verdict in world.reconciler.verdicts().items() if verdict != WELL
    }


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ([], {}),
        ([FAR], {"camera": "active", "sensors": "failed"}),
        ([FAR, NEAR], {"camera": "failed", "sensors": "failed", "feed": "failed", "tunnel": "failed"}),
        ([Ingress(1, 2048)], {"camera": "failed", "sensors": "failed"}),
        ([Ingress(1, 2048), FAR], {"camera": "failed", "sensors": "failed"}),
        ([SENSORS], {"sensors": "failed"}),
        ([claim(CAMERA)], {"camera": "failed"}),
        ([claim(CAMERA), FAR], {"camera": "failed", "sensors": "failed"}),
        ([claim(LINE_A)], {"feed": "active"}),
        ([claim(LINE_A), claim(LINE_B)], {"feed": "failed"}),
        ([PortHold("10.0.0.9", 6001)], {"tunnel": "failed"}),
    ],
)
def test_a_verdict_is_failed_where_no_packet_can_pass_and_active_with_a_reason_where_some_can(
    broken, expected
):
    assert states(failing(MANY, *broken)) == expected


def test_a_verdict_gives_every_reason_once_after_the_one_of_the_plan():
    plan = Plan(
        MANY.state, {**MANY.rules, "camera": Verdict(RuleState.ACTIVE, "1 of 3 outputs does not run")}
    )
    world = World()
    world.plan(plan)
    world.hello(0)
    for thing, reason in ((NEAR, "in use"), (FAR, "no room")):
        at = [subject(action) for action in world.workers[0].batch.actions].index(thing)
        number = world.workers[0].batch.number
        world.workers[0].batch = None
        world.reconciler.refused(0, number, at, reason, world.now)
        world.look()
    verdicts = world.reconciler.verdicts()
    assert verdicts["camera"] == Verdict(RuleState.FAILED, "1 of 3 outputs does not run; in use; no room")
    assert verdicts["feed"] == Verdict(RuleState.FAILED, "in use")


def test_a_refusal_that_comes_after_the_plan_has_changed_says_nothing_of_the_new_one():
    world = World()
    world.plan(ONE_RULE)
    world.hello(0)
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, frame_size=4096))
    world.refuse(0, 0)
    world.converge()
    assert world.reconciler.verdicts() == ONE_RULE.rules


def test_a_ring_that_cannot_grow_is_closed_with_its_flows_until_it_can():
    world = settled(ONE_RULE)
    world.broken.add(Ingress(1, 4096))
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, frame_size=4096))
    world.answer(0)
    (_, last) = world.since()
    assert last.actions == (DeleteFlow(0, CAMERA), CloseIngress(0, Ingress(1, 2048)))


def test_the_processes_are_no_failure_of_anything():
    world = failing(ONE_RULE, NEAR)
    world.exit(0)
    world.wait(0.1)
    assert world.since()[-1] == Start(0)
    assert world.reconciler.running == applied(State(memberships=ONE_RULE.state.memberships), [])
    assert StartWorker(0) not in world.reconciler.failures.by_subject
