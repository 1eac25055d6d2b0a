"""The surroundings of a reconciler, as fakes: a worker is `actions.applied`, the clock is a number."""

from dataclasses import dataclass, field

import pytest

from mcrelay.model.actions import Acquire, DeleteFlow, Open, Release, SetFlow, applied
from mcrelay.model.rule_status import RuleState
from mcrelay.model.state import KERNEL, Attachment, Egress, Flow, RouteOutput, RunningState, WorkerState
from mcrelay.reconcile.commands import Kill, Perform, SendBatch, Start, Stop
from mcrelay.reconcile.reconciler import Reconciler
from tests.support.strategies import planned


def subject_of(action):
    """Return what an action adds, or what the supervisor releases; None for other removals."""
    match action:
        case Open(_, thing) | SetFlow(_, thing, _):
            return thing
        case Acquire(thing) | Release(thing):
            return thing


@dataclass
class FakeWorker:
    """The process of a worker: what it has, what it has confirmed, and which commands it got."""

    has: WorkerState = field(default_factory=WorkerState)
    confirmed: WorkerState | None = None  # None before its hello
    batch: SendBatch | None = None
    is_stopped: bool = False
    is_killed: bool = False  # an answer from before may still arrive


@dataclass
class ReconcilerHarness:
    """The surroundings of a reconciler. They check each command, and carry it out when a test says so."""

    reconciler: Reconciler = field(default_factory=Reconciler)
    now: float = 1000.0
    workers: dict[int, FakeWorker] = field(default_factory=dict)
    has: RunningState = field(default_factory=RunningState)  # memberships and reservations
    performing: Perform | None = None
    broken: set = field(default_factory=set)
    generation: int = 0
    numbers: list[tuple[int, int]] = field(default_factory=list)  # worker, batch
    commands: list = field(default_factory=list)

    # Events.

    def plan(self, plan):
        self.generation += 1
        self.reconciler.plan_changed(plan, self.generation)
        self.take_commands()

    def trace(self, *traces):
        self.reconciler.traces_changed(frozenset(traces))
        self.take_commands()

    def hello(self, worker):
        self.workers[worker].confirmed = WorkerState()
        self.reconciler.worker_started(worker, self.now)
        self.take_commands()

    def answer(self, worker):
        """Let a worker carry out its batch, or refuse the batch because of something broken."""
        fake = self.workers[worker]
        batch = fake.batch
        for index, action in enumerate(batch.actions):
            if subject_of(action) in self.broken:
                self.refuse(worker, index)
                return
        fake.batch = None
        fake.has = fake.confirmed = applied(RunningState({worker: fake.has}), batch.actions).workers[worker]
        self.reconciler.batch_acknowledged(worker, batch.number)
        self.take_commands()

    def refuse(self, worker, index):
        batch, self.workers[worker].batch = self.workers[worker].batch, None
        self.reconciler.batch_refused(worker, batch.number, {index: f"no {index}"}, self.now)
        self.take_commands()

    def exit(self, worker):
        del self.workers[worker]
        self.reconciler.worker_exited(worker, self.now, "killed by SIGKILL")
        self.take_commands()

    def perform(self):
        actions, self.performing = self.performing.actions, None
        failed = {
            at: f"no {action}" for at, action in enumerate(actions) if subject_of(action) in self.broken
        }
        self.has = applied(self.has, (action for at, action in enumerate(actions) if at not in failed))
        self.reconciler.actions_performed(failed, self.now)
        self.take_commands()

    def wait(self, seconds):
        self.now += seconds
        self.take_commands()

    def converge(self):
        """Answer everything, and let time pass while there is nothing to answer."""
        for _ in range(500):
            if self.performing:
                self.perform()
            elif any(self._moves(worker) for worker in list(self.workers)):
                continue
            elif (deadline := self.reconciler.next_deadline()) is not None:
                self.wait(deadline - self.now)
            else:
                return
        pytest.fail("it does not settle")

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

    # Commands.

    def take_commands(self):
        """Take all commands that are due, as the supervisor's loop does after each event."""
        for _ in range(5):
            commands = self.reconciler.due_commands(self.now)
            if not commands:
                assert not self.reconciler.has_unseen_events, "no event is left unseen"
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
        assert fake.confirmed is not None, "a batch goes only to a worker that said hello"
        assert fake.batch is None, "one batch at a time"
        assert not any(number >= batch.number for _, number in self.numbers), "numbers are never used again"
        assert batch.generation == self.generation
        assert batch.actions
        assert {action.worker for action in batch.actions} == {batch.worker}
        wanted = self.reconciler.desired.states.get(batch.worker, WorkerState())
        for action in batch.actions:
            if isinstance(action, SetFlow | DeleteFlow) and action.flow in fake.confirmed.flows:
                route = fake.confirmed.flows[action.flow]
                is_as_planned = wanted.flows.get(action.flow) == route
                needs = {action.flow, *(output.egress for output in route.outputs)}
                needs |= {one for one in wanted.ingress if one.ifindex == action.flow.ifindex}
                needs.add(Attachment(action.flow.ifindex))
                assert not is_as_planned or needs & self.reconciler.failures.by_subject.keys(), (
                    "a flow that is as planned is touched only when something that it needs has failed"
                )

    def _check_performance(self, performance):
        assert performance.actions
        if any(isinstance(action, Acquire) for action in performance.actions):
            for worker, fake in self.workers.items():
                if worker in self.possible.states and not fake.is_stopped:
                    wanted = self.possible.states[worker]
                    assert fake.confirmed.resources >= wanted.resources
                    assert fake.confirmed.flows.items() >= wanted.flows.items(), "flows come before groups"

    @property
    def possible(self):
        """The desired state without what is set aside at the moment."""
        return self.reconciler.failures.without_set_aside(self.reconciler.desired)

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
        """A rule is paused exactly when it is active and neither the kernel nor a worker has it."""
        desired = self.reconciler.desired
        moving = desired.kernel.routes_by_rule()
        forwarded = {
            rule
            for worker, fake in self.workers.items()
            for rule in (fake.confirmed or WorkerState()).routes_by_rule()
            if worker in (KERNEL, *desired.workers) or rule in moving
        }
        now = self.reconciler.statuses_now()
        for rule, status in self.reconciler.statuses().items():
            is_paused = status.state is RuleState.ACTIVE and rule not in forwarded
            assert now[rule].state is (RuleState.PAUSED if is_paused else status.state)
            assert now[rule].reason or now[rule] == status

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


def settle(plan):
    harness = ReconcilerHarness()
    harness.plan(plan)
    harness.converge()
    harness.since()
    return harness


def harness_with_broken(plan, *broken):
    """Return a harness in which these things are broken, after everything else has been done."""
    harness = ReconcilerHarness(broken=set(broken))
    harness.plan(plan)
    harness.hello(0)
    while harness.workers[0].batch:
        harness.answer(0)
    if harness.performing:
        harness.perform()
    return harness
