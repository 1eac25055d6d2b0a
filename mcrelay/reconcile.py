"""Brings what runs to what should run: events in, commands out, one batch at a time for each worker.

The rules of the house:

- `running` is what has been acknowledged, nothing else. A worker that died has taken its part of it away,
  and the same comparison that serves a reload brings that part back.
- A worker has at most one batch outstanding, so that every comparison starts from a state it has confirmed.
- What could not be done is set aside, with a time to try again, and everything else goes on without it.
- The supervisor's own actions (memberships, held ports) wait for the workers, so that the first packet of a
  group meets a rule that is in place. They do not wait for a worker that keeps dying.
- Time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from mcrelay.diff import diff
from mcrelay.plan import Plan, RuleState, Verdict, claim
from mcrelay.state import (
    Action,
    CloseEgress,
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
    PortHold,
    Release,
    Route,
    SetFlow,
    StartWorker,
    State,
    StopWorker,
    SupervisorAction,
    WorkerAction,
    WorkerState,
    applied,
    without_worker,
)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a dead worker starts again
LONG_LIFE = 60.0  # seconds after which a death counts as the first one again
PATIENCE = 10.0  # seconds a worker has for a batch, or to start
FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0  # seconds before what failed is tried again

Subject = Ingress | Egress | Flow | Membership | PortHold


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker's process."""

    worker: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Let a worker's process end."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker's process that does not answer."""

    worker: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Send these actions to a worker; it answers with the number."""

    worker: int
    number: int
    generation: int
    actions: tuple[WorkerAction, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry these actions out in the supervisor itself; the answer is `performed`."""

    actions: tuple[SupervisorAction, ...]


Command = Start | Stop | Kill | Batch | Perform


class Phase(Enum):
    """Where a worker's process stands."""

    ABSENT = auto()
    STARTING = auto()
    IDLE = auto()
    BUSY = auto()
    ENDING = auto()


_UNDER_WAY = (Phase.STARTING, Phase.BUSY, Phase.ENDING)  # phases that end with an event, or are overdue


@dataclass(slots=True)
class _Process:
    phase: Phase = Phase.ABSENT
    started_at: float = 0.0
    start_not_before: float = 0.0
    pause: float = 0.0
    deadline: float = 0.0
    batch: Batch | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something could not be done, and when it is tried again: None while it is being tried."""

    reason: str
    pause: float
    retry_at: float | None


@dataclass(slots=True)
class Reconciler:
    """The owner of `running`."""

    running: State = field(default_factory=State)
    plan: Plan = field(default_factory=Plan)
    generation: int = 0
    failures: dict[Subject, Failure] = field(default_factory=dict)
    _processes: dict[int, _Process] = field(default_factory=dict)
    _performing: tuple[SupervisorAction, ...] = ()
    _numbers: int = 0
    _differs: bool = False

    # Events, in the past tense.

    def planned(self, plan: Plan, generation: int) -> None:
        """There is a new plan: a config was accepted, or a link changed."""
        self.plan, self.generation = plan, generation
        self.failures.clear()
        self._differs = True

    def worker_started(self, worker: int, now: float) -> None:
        """A worker said hello: it runs, and has nothing yet."""
        process = self._process(worker)
        if process.phase is Phase.STARTING:
            process.phase, process.started_at = Phase.IDLE, now
            self.running = applied(self.running, [StartWorker(worker)])
            self._differs = True

    def worker_exited(self, worker: int, now: float) -> None:
        """A worker died, or ended as told: it does nothing now, and comes back after a pause if wanted."""
        process = self._process(worker)
        if process.phase is Phase.ABSENT:
            return
        if process.phase is not Phase.ENDING:
            lived_long = process.phase is not Phase.STARTING and now - process.started_at >= LONG_LIFE
            process.pause = (
                FIRST_PAUSE if lived_long else min(LONGEST_PAUSE, process.pause * 2 or FIRST_PAUSE)
            )
            process.start_not_before = now + process.pause
            process.restarts += 1
        process.phase, process.batch = Phase.ABSENT, None
        self.running = without_worker(self.running, worker)
        self._differs = True

    def acknowledged(self, worker: int, number: int) -> None:
        """A worker carried out a batch. An answer to a batch of its predecessor says nothing."""
        if batch := self._answered(worker, number):
            self.running = applied(self.running, batch.actions)

    def refused(self, worker: int, number: int, index: int, reason: str, now: float) -> None:
        """A batch was not carried out, because of one action.

        A worker that can name none, or cannot let something go, is no use any more.
        """
        if batch := self._answered(worker, number):
            action = batch.actions[index] if 0 <= index < len(batch.actions) else None
            if isinstance(action, OpenIngress | OpenEgress | SetFlow):
                self._set_aside(action, reason, now)
            else:
                process = self._process(worker)
                process.phase, process.deadline = Phase.BUSY, now

    def performed(self, failed: Mapping[int, str], now: float) -> None:
        """The supervisor carried out its actions, all but the `failed` (index: reason)."""
        actions, self._performing = self._performing, ()
        done = (action for at, action in enumerate(actions) if at not in failed)
        self.running = applied(self.running, done)
        for index, reason in failed.items():
            self._set_aside(actions[index], reason, now)
        self._differs = True

    # Commands.

    def due(self, now: float) -> list[Command]:
        """Return what is to be done now. Nothing is returned twice."""
        commands: list[Command] = self._overdue(now)
        self._try_again(now)
        if not self._differs and not self._may_start(now):
            return commands
        self._differs = False
        actions = diff(self.running, self._wanted())
        if self.failures:
            self._forget_what_works_again(actions)
        commands += self._starts_and_stops(actions, now)
        commands += self._batches(actions, now)
        own = tuple(a for a in actions if isinstance(a, SupervisorAction) and not self._rests(_subject(a)))
        if own and not self._performing and not self._workers_are_changing():
            self._performing = own
            commands.append(Perform(own))
        return commands

    def next_deadline(self) -> float | None:
        """Return when `due` has something to do although no event comes; None where it never has."""
        times = [failure.retry_at for failure in self.failures.values() if failure.retry_at is not None]
        for worker, process in self._processes.items():
            if process.phase in _UNDER_WAY:
                times.append(process.deadline)
            elif process.phase is Phase.ABSENT and worker in self.plan.state.workers:
                times.append(process.start_not_before)
        return min(times, default=None)

    @property
    def settled(self) -> bool:
        """Nothing is under way, and all that can be done has been done."""
        is_under_way = any(process.phase in _UNDER_WAY for process in self._processes.values())
        return not self._differs and not self._performing and not is_under_way

    def is_ending(self, worker: int) -> bool:
        """Whether a worker has been told to end."""
        return self._process(worker).phase is Phase.ENDING

    @property
    def restarts(self) -> dict[int, int]:
        """How often each worker has died."""
        return {worker: process.restarts for worker, process in self._processes.items()}

    def verdicts(self) -> dict[str, Verdict]:
        """Return the state of every rule, with what failed since it was planned.

        A rule that lost some of its sources or outputs is active still, and says why.
        """
        verdicts = dict(self.plan.rules)
        if self.failures:
            for rule, ways in self._ways().items():
                verdicts[rule] = _marked(verdicts[rule], ways)
        return verdicts

    # The parts of it.

    def _process(self, worker: int) -> _Process:
        return self._processes.setdefault(worker, _Process())

    def _answered(self, worker: int, number: int) -> Batch | None:
        process = self._process(worker)
        batch = process.batch
        if batch is None or batch.number != number:
            return None
        process.phase, process.batch = Phase.IDLE, None
        self._differs = True
        return batch

    def _set_aside(self, action: WorkerAction | SupervisorAction, reason: str, now: float) -> None:
        subject = _subject(action)
        before = self.failures.get(subject)
        pause = min(LONGEST_RETRY, before.pause * 2) if before else FIRST_RETRY
        self.failures[subject] = Failure(reason, pause, now + pause)

    def _forget_what_works_again(self, actions: Sequence[Action]) -> None:
        """Forget the failures that were tried again and that no action is about any more.

        An acknowledgement alone says less: another worker may refuse still what this one has taken.
        """
        left = {_subject(action) for action in actions if not isinstance(action, StartWorker | StopWorker)}
        self.failures = {
            subject: failure
            for subject, failure in self.failures.items()
            if failure.retry_at is not None or subject in left
        }

    def _try_again(self, now: float) -> None:
        for subject, failure in self.failures.items():
            if failure.retry_at is not None and failure.retry_at <= now:
                self.failures[subject] = replace(failure, retry_at=None)
                self._differs = True

    def _rests(self, subject: Subject) -> bool:
        failure = self.failures.get(subject)
        return failure is not None and failure.retry_at is not None

    def _wanted(self) -> State:
        resting = {subject for subject in self.failures if self._rests(subject)}
        return without(self.plan.state, resting) if resting else self.plan.state

    def _overdue(self, now: float) -> list[Command]:
        late: list[Command] = []
        for worker, process in self._processes.items():
            if process.phase in _UNDER_WAY and process.deadline <= now:
                process.deadline = now + PATIENCE
                late.append(Kill(worker))
        return late

    def _may_start(self, now: float) -> bool:
        return any(
            process.phase is Phase.ABSENT and process.start_not_before <= now
            for worker, process in self._processes.items()
            if worker in self.plan.state.workers
        )

    def _starts_and_stops(self, actions: list[Action], now: float) -> list[Command]:
        commands: list[Command] = []
        for action in actions:
            match action:
                case StartWorker(worker):
                    process = self._process(worker)
                    if process.phase is Phase.ABSENT and process.start_not_before <= now:
                        process.phase, process.deadline = Phase.STARTING, now + PATIENCE
                        commands.append(Start(worker))
                case StopWorker(worker):
                    process = self._process(worker)
                    if process.phase is Phase.IDLE:
                        process.phase, process.deadline = Phase.ENDING, now + PATIENCE
                        commands.append(Stop(worker))
        return commands

    def _batches(self, actions: list[Action], now: float) -> list[Command]:
        todo: dict[int, list[WorkerAction]] = {}
        for action in actions:
            if isinstance(action, WorkerAction) and self._process(action.worker).phase is Phase.IDLE:
                todo.setdefault(action.worker, []).append(action)
        commands: list[Command] = []
        for worker, steps in todo.items():
            self._numbers += 1
            batch = Batch(worker, self._numbers, self.generation, tuple(steps))
            process = self._process(worker)
            process.phase, process.batch, process.deadline = Phase.BUSY, batch, now + PATIENCE
            commands.append(batch)
        return commands

    def _workers_are_changing(self) -> bool:
        return any(process.phase in (Phase.STARTING, Phase.BUSY) for process in self._processes.values())

    def _ways(self) -> dict[str, list[list[Failure]]]:
        """Return every way through a rule, from one source to one output, as what fails on it."""
        worker = next(iter(self.plan.state.workers.values()), WorkerState())  # the others forward the same
        rings = {ingress.ifindex: ingress for ingress in worker.ingress}
        ways: dict[str, list[list[Failure]]] = {}
        for flow, route in worker.flows.items():
            for output in route.outputs:
                needed = (rings[flow.ifindex], flow, claim(flow), output.egress)
                failed = [self.failures[subject] for subject in needed if subject in self.failures]
                ways.setdefault(route.rule, []).append(failed)
        return ways


def _subject(action: WorkerAction | SupervisorAction) -> Subject:
    match action:
        case OpenIngress(_, ingress) | CloseIngress(_, ingress):
            return ingress
        case OpenEgress(_, egress) | CloseEgress(_, egress):
            return egress
        case SetFlow(_, flow, _) | DeleteFlow(_, flow):
            return flow
        case Join(membership) | Leave(membership):
            return membership
        case Hold(hold) | Release(hold):  # pragma: no branch: there is no other
            return hold


def _marked(planned: Verdict, ways: Sequence[Sequence[Failure]]) -> Verdict:
    if not any(ways):
        return planned
    reasons = dict.fromkeys(failure.reason for way in ways for failure in way)
    state = RuleState.FAILED if all(ways) else planned.state
    return Verdict(state, "; ".join(filter(None, (planned.reason, *reasons))))


def without(state: State, failed: set[Subject]) -> State:
    """Return `state` less what failed and what cannot be without it."""
    # The workers of a plan share one value, and so do those of the answer.
    reduced = {id(worker): _worker_without(worker, failed) for worker in state.workers.values()}
    return State(
        {number: reduced[id(worker)] for number, worker in state.workers.items()},
        state.memberships - failed,
        state.holds - failed,
    )


def _worker_without(state: WorkerState, failed: set[Subject]) -> WorkerState:
    ingress, egress = state.ingress - failed, state.egress - failed
    read = {one.ifindex for one in ingress}
    flows = {}
    for flow, route in state.flows.items():
        outputs = tuple(output for output in route.outputs if output.egress in egress)
        if flow.ifindex in read and outputs and flow not in failed:
            flows[flow] = route if len(outputs) == len(route.outputs) else Route(route.rule, outputs)
    return WorkerState(ingress, egress, flows)
