"""All that is around a reconciler, as fakes: a worker is `state.applied`, a clock is a number."""

from dataclasses import dataclass, field

import pytest

from mcrelay.model.actions import Acquire, DeleteFlow, Open, Release, SetFlow, applied
from mcrelay.model.rule_status import RuleState
from mcrelay.model.state import Egress, Flow, RouteOutput, RunningState, WorkerState
from mcrelay.reconcile.commands import Kill, Perform, SendBatch, Start, Stop
from mcrelay.reconcile.reconciler import Reconciler
from tests.support.strategies import planned


def subject(action):
    """Return what an action adds, or what the supervisor lets go of."""
    match action:
        case Open(_, thing) | SetFlow(_, thing, _):
            return thing
        case Acquire(thing) | Release(thing):
            return thing


@dataclass
class FakeWorker:
    """A process: what it has, what it has said so far, and what it was told."""

    has: WorkerState = field(default_factory=WorkerState)
    confirmed: WorkerState | None = None  # None until it said hello
    batch: SendBatch | None = None
    is_stopped: bool = False
    is_killed: bool = False  # but what it said before may be heard still


@dataclass
class World:
    """All that is around a reconciler. It checks each command, and carries it out when asked to."""

    reconciler: Reconciler = field(default_factory=Reconciler)
    now: float = 1000.0
    workers: dict[int, FakeWorker] = field(default_factory=dict)
    has: RunningState = field(default_factory=RunningState)  # memberships and reservations
    performing: Perform | None = None
    broken: set = field(default_factory=set)
    generation: int = 0
    numbers: list[tuple[int, int]] = field(default_factory=list)  # worker, batch
    commands: list = field(default_factory=list)

    # What happens.

    def plan(self, plan):
        self.generation += 1
        self.reconciler.plan_changed(plan, self.generation)
        self.look()

    def trace(self, *traces):
        self.reconciler.traces_changed(frozenset(traces))
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
        fake.has = fake.confirmed = applied(RunningState({worker: fake.has}), batch.actions).workers[worker]
        self.reconciler.batch_acknowledged(worker, batch.number)
        self.look()

    def refuse(self, worker, index):
        batch, self.workers[worker].batch = self.workers[worker].batch, None
        self.reconciler.batch_refused(worker, batch.number, {index: f"no {index}"}, self.now)
        self.look()

    def exit(self, worker):
        del self.workers[worker]
        self.reconciler.worker_exited(worker, self.now, "killed by SIGKILL")
        self.look()

    def perform(self):
        actions, self.performing = self.performing.actions, None
        failed = {at: f"no {action}" for at, action in enumerate(actions) if subject(action) in self.broken}
        self.has = applied(self.has, (action for at, action in enumerate(actions) if at not in failed))
        self.reconciler.actions_performed(failed, self.now)
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
            commands = self.reconciler.due_commands(self.now)
            if not commands:
                assert not self.reconciler.has_unseen_events, "it has looked at everything"
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
            case SendBatch(worker):
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
        state = self.reconciler.plan.state
        wanted = state.forwarding if batch.worker in state.workers else WorkerState()
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
        if any(isinstance(action, Acquire) for action in performance.actions):
            for worker, fake in self.workers.items():
                if worker in self.possible.workers and not fake.is_stopped:
                    assert fake.confirmed == self.possible.forwarding, "the flows first"

    @property
    def possible(self):
        """What is wanted, less what failed and is not tried at the moment."""
        return self.reconciler.failures.without_resting(self.reconciler.desired)

    def check(self):
        running = self.reconciler.running
        assert running.workers == {
            worker: fake.confirmed for worker, fake in self.workers.items() if fake.confirmed is not None
        }
        assert running.resources == self.has.resources
        deadline = self.reconciler.next_deadline()
        assert deadline is None or deadline > self.now, "the loop would spin"
        assert self.reconciler.due_commands(self.now) == [], "nothing is returned twice"
        assert self.reconciler.statuses().keys() == self.reconciler.plan.rules.keys()
        self._check_pauses()

    def _check_pauses(self):
        """A rule is paused that nobody who stays forwards, although nothing is wrong with it; no other is."""
        staying = self.reconciler.desired.workers
        forwarded = {
            route.rule
            for worker, fake in self.workers.items()
            if worker in staying
            for route in (fake.confirmed or WorkerState()).flows.values()
        }
        now = self.reconciler.statuses_now()
        for rule, verdict in self.reconciler.statuses().items():
            is_paused = verdict.state is RuleState.ACTIVE and rule not in forwarded
            assert now[rule].state is (RuleState.PAUSED if is_paused else verdict.state)
            assert now[rule].reason or now[rule] == verdict

    def since(self):
        """Return the commands since the last call."""
        commands, self.commands = self.commands, []
        return commands


NEAR, FAR = Egress(2, "10.9.2.1"), Egress(3, "10.9.3.1")
TO_NEAR = RouteOutput("near", NEAR, "239.2.2.2", 6001, 64, "copy")
TO_FAR = RouteOutput("far", FAR, "239.3.3.3", 6001, 64, "copy")
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
