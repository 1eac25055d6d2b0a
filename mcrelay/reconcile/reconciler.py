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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mcrelay.model.actions import (
    Action,
    Open,
    SetFlow,
    StartWorker,
    StopWorker,
    SupervisorAction,
    WorkerAction,
    applied,
    without_worker,
)
from mcrelay.model.rule_status import RuleStatus
from mcrelay.model.state import DesiredState, RunningState, Trace
from mcrelay.reconcile.commands import Command, Kill, Perform, SendBatch, Start, Stop
from mcrelay.reconcile.diff import diff
from mcrelay.reconcile.failures import Failures
from mcrelay.reconcile.lifecycle import TIMEOUT_S, Phase, Process
from mcrelay.reconcile.pauses import with_pauses
from mcrelay.reconcile.plan import Plan


@dataclass(slots=True)
class Reconciler:
    """The owner of `running`."""

    running: RunningState = field(default_factory=RunningState)
    plan: Plan = field(default_factory=Plan)
    desired: DesiredState = field(default_factory=DesiredState)
    """What the plan asks for, with the traces."""
    generation: int = 0
    failures: Failures = field(default_factory=Failures)
    processes: dict[int, Process] = field(default_factory=dict)
    _traces: frozenset[Trace] = frozenset()
    _outstanding: dict[int, SendBatch] = field(default_factory=dict)
    """The batch that each worker has not answered yet."""
    _performing: tuple[SupervisorAction, ...] = ()
    _numbers: int = 0
    _has_unseen_events: bool = True
    _has_been_complete: bool = False

    # Events, in the past tense.

    def plan_changed(self, plan: Plan, generation: int) -> None:
        """There is a new plan: a config was accepted, or a link changed."""
        self.plan, self.generation = plan, generation
        self.failures.clear()
        self._aim()

    def traces_changed(self, traces: frozenset[Trace]) -> None:
        """Other rules than before are to be traced; those that do not run cannot be."""
        if traces != self._traces:
            self._traces = traces
            self._aim()

    def worker_started(self, worker: int, now: float) -> None:
        """A worker said hello: it runs, and has nothing yet."""
        if self._process(worker).said_hello(now):
            self.running = applied(self.running, [StartWorker(worker)])
            self._has_unseen_events = True

    def worker_exited(self, worker: int, now: float, reason: str = "") -> None:
        """A worker died, or ended as told: it does nothing now, and comes back after a pause if wanted."""
        process = self._process(worker)
        if process.phase is Phase.ABSENT:
            return
        process.exited(now, reason)
        self._outstanding.pop(worker, None)
        self.running = without_worker(self.running, worker)
        self._has_unseen_events = True

    def batch_acknowledged(self, worker: int, number: int) -> None:
        """A worker carried out a batch. An answer to a batch of its predecessor says nothing."""
        if batch := self._answered(worker, number):
            self.running = applied(self.running, batch.actions)

    def batch_refused(self, worker: int, number: int, reasons: Mapping[int, str], now: float) -> None:
        """A batch was not carried out, because of these actions of it (index: reason).

        A worker that can name none, or cannot let something go, is no use any more.
        """
        if not (batch := self._answered(worker, number)):
            return
        for index, reason in reasons.items():
            action = batch.actions[index] if 0 <= index < len(batch.actions) else None
            if isinstance(action, Open | SetFlow):
                self.failures.set_aside(action, reason, now)
            else:
                self._process(worker).give_up(now)

    def actions_performed(self, failed: Mapping[int, str], now: float) -> None:
        """The supervisor carried out its actions, all but the `failed` (index: reason)."""
        actions, self._performing = self._performing, ()
        done = (action for at, action in enumerate(actions) if at not in failed)
        self.running = applied(self.running, done)
        for index, reason in failed.items():
            self.failures.set_aside(actions[index], reason, now)
        self._has_unseen_events = True

    # Commands.

    def due_commands(self, now: float) -> list[Command]:
        """Return what is to be done now. Nothing is returned twice."""
        commands: list[Command] = self._overdue(now)
        if not (self.failures.wake(now) or self._has_unseen_events or self._may_start(now)):
            return commands
        self._has_unseen_events = False
        actions = diff(self.running, self.failures.without_resting(self.desired))
        self.failures.forget_recovered(actions)
        self._has_been_complete |= not actions
        commands += self._starts_and_stops(actions, now)
        commands += self._batches(actions, now)
        own = tuple(a for a in actions if isinstance(a, SupervisorAction) and not self.failures.is_resting(a))
        if own and not self._performing and not self._workers_are_changing():
            self._performing = own
            commands.append(Perform(own))
        return commands

    def next_deadline(self) -> float | None:
        """Return when `due` has something to do although no event comes; None where it never has."""
        retry = self.failures.next_retry()
        times = [] if retry is None else [retry]
        for worker, process in self.processes.items():
            if process.is_under_way:
                times.append(process.deadline)
            elif process.phase is Phase.ABSENT and worker in self.desired.workers:
                times.append(process.start_not_before)
        return min(times, default=None)

    @property
    def has_unseen_events(self) -> bool:
        """Whether something happened that `due` has not looked at yet."""
        return self._has_unseen_events

    @property
    def is_settled(self) -> bool:
        """Nothing is under way, and all that can be done has been done.

        A worker that died and pauses is not waited for, but at the very start all of them are.
        """
        is_under_way = any(process.is_under_way for process in self.processes.values())
        is_quiet = not self._has_unseen_events and not self._performing and not is_under_way
        return is_quiet and self._has_been_complete

    def is_ending(self, worker: int) -> bool:
        """Whether a worker has been told to end."""
        return self._process(worker).phase is Phase.ENDING

    def statuses(self) -> dict[str, RuleStatus]:
        """Return the state of every rule, with what failed since it was planned."""
        return self.failures.statuses(self.plan)

    def statuses_now(self) -> dict[str, RuleStatus]:
        """Return the same, with the rules paused that no worker forwards while it is away."""
        return with_pauses(self.statuses(), self.desired, self.running, self.processes)

    # The parts of it.

    def _aim(self) -> None:
        self.desired = _with_traces(self.plan.state, self._traces)
        self._has_unseen_events = True

    def _process(self, worker: int) -> Process:
        return self.processes.setdefault(worker, Process())

    def _answered(self, worker: int, number: int) -> SendBatch | None:
        """Return the batch that an answer is about, None where it is about a batch of the predecessor."""
        batch = self._outstanding.get(worker)
        if batch is None or batch.number != number:
            return None
        del self._outstanding[worker]
        self._process(worker).answered()
        self._has_unseen_events = True
        return batch

    def _overdue(self, now: float) -> list[Command]:
        late: list[Command] = []
        for worker, process in self.processes.items():
            if process.is_overdue(now):
                process.deadline = now + TIMEOUT_S
                late.append(Kill(worker))
        return late

    def _may_start(self, now: float) -> bool:
        wanted = self.desired.workers
        return any(process.may_start(now) for worker, process in self.processes.items() if worker in wanted)

    def _starts_and_stops(self, actions: list[Action], now: float) -> list[Command]:
        commands: list[Command] = []
        for action in actions:
            match action:
                case StartWorker(worker):
                    process = self._process(worker)
                    if process.may_start(now):
                        process.begin(Phase.STARTING, now)
                        commands.append(Start(worker))
                case StopWorker(worker):
                    process = self._process(worker)
                    if process.phase is Phase.IDLE:
                        process.begin(Phase.ENDING, now)
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
            batch = SendBatch(worker, self._numbers, self.generation, tuple(steps))
            self._process(worker).begin(Phase.BUSY, now)
            self._outstanding[worker] = batch
            commands.append(batch)
        return commands

    def _workers_are_changing(self) -> bool:
        return any(process.is_changing for process in self.processes.values())


def _with_traces(state: DesiredState, traces: frozenset[Trace]) -> DesiredState:
    """Return `state` with the traces of the rules that it forwards."""
    if not traces:
        return state
    rules = state.forwarding.routes_by_rule()
    possible = {trace for trace in traces if trace.rule in rules}
    resources = state.forwarding.resources | possible
    return replace(state, forwarding=replace(state.forwarding, resources=resources))
