"""The reconciler: takes events and returns the commands that turn the running state into the desired state.

The rules of the model:

- The running state contains acknowledged actions only. If a worker dies, its part is removed from the
  running state, and the comparison that serves a reload also restores that part.
- A worker has at most one batch outstanding, so that every comparison starts from a state that the worker
  has confirmed.
- A failed resource or flow is set aside until its next attempt, and the rest is carried out without it.
- The supervisor's own actions (memberships, port reservations) wait for the workers, so that the first packet
  of a group finds its rule in place. They do not wait for a worker that dies repeatedly.
- Times are arguments, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
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
    with_worker,
    without_links,
    without_worker,
)
from mcrelay.model.rule_status import RuleStatus
from mcrelay.model.state import DesiredState, RunningState, Trace, WorkerState
from mcrelay.reconcile.commands import Command, Kill, Perform, SendBatch, Start, Stop
from mcrelay.reconcile.diff import diff
from mcrelay.reconcile.failures import Failures
from mcrelay.reconcile.lifecycle import TIMEOUT_S, Phase, Process
from mcrelay.reconcile.pauses import add_pauses
from mcrelay.reconcile.placement import move_to_workers
from mcrelay.reconcile.plan import Plan

_NOTHING = WorkerState()


@dataclass(slots=True)
class Reconciler:
    """Owns the running state. The caller reports events and carries out the commands."""

    running: RunningState = field(default_factory=RunningState)
    plan: Plan = field(default_factory=Plan)
    desired: DesiredState = field(default_factory=DesiredState)
    """The state of the plan, with the traces of the rules that run."""
    generation: int = 0
    failures: Failures = field(default_factory=Failures)
    processes: dict[int, Process] = field(default_factory=dict)
    _traces: frozenset[Trace] = frozenset()
    _outstanding: dict[int, SendBatch] = field(default_factory=dict)
    """The unanswered batch of each worker."""
    _removed_links: dict[int, frozenset[int]] = field(default_factory=dict)
    """The devices that were deleted while a worker had a batch, which may have opened their rings."""
    _performing: tuple[SupervisorAction, ...] = ()
    _numbers: int = 0
    _has_unseen_events: bool = True
    _has_been_complete: bool = False

    # Events.

    def plan_changed(self, plan: Plan, generation: int) -> None:
        """Record a new plan, after a configuration was accepted or a link changed."""
        self.plan, self.generation = plan, generation
        self.failures.clear()
        self._update_desired()

    def traces_changed(self, traces: frozenset[Trace]) -> None:
        """Record a new set of traces; a trace of a rule that does not run is ignored."""
        if traces != self._traces:
            self._traces = traces
            self._update_desired()

    def worker_started(self, worker: int, now: float, state: WorkerState = _NOTHING) -> None:
        """Record the hello of a worker, which has no open resources yet.

        The kernel data plane, which outlives the daemon, may have a `state` when it is opened.
        """
        if self._process(worker).record_hello(now):
            self.running = with_worker(self.running, worker, state)
            self._has_unseen_events = True

    def worker_exited(self, worker: int, now: float, reason: str = "") -> None:
        """Record the exit of a worker. If the worker is in the plan, it is restarted after a delay."""
        process = self._process(worker)
        if process.phase is Phase.ABSENT:
            return
        process.record_exit(now, reason)
        self._outstanding.pop(worker, None)
        self._removed_links.pop(worker, None)
        self.running = without_worker(self.running, worker)
        self._has_unseen_events = True

    def links_removed(self, ifindexes: Set[int]) -> None:
        """Record that devices were deleted, of which others may have the numbers by now."""
        self.running = without_links(self.running, ifindexes)
        for worker in self._outstanding:
            self._removed_links[worker] = self._removed_links.get(worker, frozenset()) | ifindexes
        self._has_unseen_events = True

    def batch_acknowledged(self, worker: int, number: int) -> None:
        """Record that a worker carried out a batch. An answer to a batch of its predecessor is ignored."""
        if batch := self._take_answered_batch(worker, number):
            self.running = applied(self.running, batch.actions)
            if removed := self._removed_links.pop(worker, None):
                self.running = without_links(self.running, removed)

    def batch_refused(self, worker: int, number: int, reasons: Mapping[int, str], now: float) -> None:
        """Record that a worker refused a batch. `reasons` has a reason for the index of each failed action.

        The worker is killed if an index is invalid, or if the failed action closes or deletes something.
        """
        if not (batch := self._take_answered_batch(worker, number)):
            return
        self._removed_links.pop(worker, None)
        for index, reason in reasons.items():
            action = batch.actions[index] if 0 <= index < len(batch.actions) else None
            if isinstance(action, Open | SetFlow):
                self.failures.set_aside(action, reason, now)
            else:
                self._process(worker).give_up(now)

    def actions_performed(self, failed: Mapping[int, str], now: float) -> None:
        """Record that the supervisor carried out its actions. `failed` has the reasons by action index."""
        actions, self._performing = self._performing, ()
        done = (action for index, action in enumerate(actions) if index not in failed)
        self.running = applied(self.running, done)
        for index, reason in failed.items():
            self.failures.set_aside(actions[index], reason, now)
        self._has_unseen_events = True

    # Commands.

    def due_commands(self, now: float) -> list[Command]:
        """Return the commands to carry out now. Each command is returned once."""
        commands: list[Command] = self._kill_overdue(now)
        if not (self.failures.begin_due_retries(now) or self._has_unseen_events or self._may_start(now)):
            return commands
        self._has_unseen_events = False
        actions = diff(self.running, self.failures.without_set_aside(self.desired))
        self.failures.forget_recovered(actions)
        self._has_been_complete |= not actions
        commands += self._start_and_stop(actions, now)
        commands += self._send_batches(actions, now)
        own = tuple(
            action
            for action in actions
            if isinstance(action, SupervisorAction) and not self.failures.is_set_aside(action)
        )
        if own and not self._performing and not self._workers_are_changing():
            self._performing = own
            commands.append(Perform(own))
        return commands

    def next_deadline(self) -> float | None:
        """Return the time by which `due_commands` must be called without an event, or None if never."""
        retry = self.failures.next_retry()
        times = [] if retry is None else [retry]
        for worker, process in self.processes.items():
            if process.is_under_way:
                times.append(process.deadline)
            elif process.phase is Phase.ABSENT and worker in self.desired.states:
                times.append(process.start_not_before)
        return min(times, default=None)

    @property
    def has_unseen_events(self) -> bool:
        """True if an event happened since the last call of `due_commands`."""
        return self._has_unseen_events

    @property
    def is_settled(self) -> bool:
        """True if nothing is under way and the desired state was reached as far as possible.

        After the desired state was reached once, this is also True while a dead worker waits for its restart.
        """
        is_under_way = any(process.is_under_way for process in self.processes.values())
        is_quiet = not self._has_unseen_events and not self._performing and not is_under_way
        return is_quiet and self._has_been_complete

    def statuses(self) -> dict[str, RuleStatus]:
        """Return the status of every rule by its name: the status in the plan, with later failures."""
        return self.failures.statuses(self.plan)

    def statuses_now(self) -> dict[str, RuleStatus]:
        """Return the same statuses, with the pauses of the rules that workers do not forward at present."""
        return add_pauses(self.statuses(), self.desired, self.running, self.processes)

    # Steps.

    def _update_desired(self) -> None:
        self.desired = _with_traces(self.plan.state, self._traces)
        self._has_unseen_events = True

    def _process(self, worker: int) -> Process:
        return self.processes.setdefault(worker, Process())

    def _take_answered_batch(self, worker: int, number: int) -> SendBatch | None:
        """Remove and return the outstanding batch of a worker, or return None if its number is another."""
        batch = self._outstanding.get(worker)
        if batch is None or batch.number != number:
            return None
        del self._outstanding[worker]
        self._process(worker).record_answer()
        self._has_unseen_events = True
        return batch

    def _kill_overdue(self, now: float) -> list[Command]:
        late: list[Command] = []
        for worker, process in self.processes.items():
            if process.is_overdue(now):
                process.deadline = now + TIMEOUT_S
                late.append(Kill(worker))
        return late

    def _may_start(self, now: float) -> bool:
        wanted = self.desired.states
        return any(process.may_start(now) for worker, process in self.processes.items() if worker in wanted)

    def _start_and_stop(self, actions: list[Action], now: float) -> list[Command]:
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

    def _send_batches(self, actions: list[Action], now: float) -> list[Command]:
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
    """Return `state` with the traces of the rules that it forwards; workers forward a rule that is traced."""
    if not traces:
        return state
    state = move_to_workers(state, _with_companions(state, {trace.rule for trace in traces}))
    rules = state.forwarding.routes_by_rule()
    possible = {trace for trace in traces if trace.rule in rules}
    resources = state.forwarding.resources | possible
    return replace(state, forwarding=replace(state.forwarding, resources=resources))


def _with_companions(state: DesiredState, traced: Set[str]) -> Set[str]:
    """Return traced rules with the rules of the kernel that take packets to the same address.

    The kernel counts near misses of the address of each of its rules, and shows them in no trace.
    """
    addresses = {
        (flow.ifindex, flow.destination) for flow, route in state.flows.items() if route.rule in traced
    }
    return traced | {
        route.rule
        for flow, route in state.kernel.flows.items()
        if (flow.ifindex, flow.destination) in addresses and not route.exclusive
    }
