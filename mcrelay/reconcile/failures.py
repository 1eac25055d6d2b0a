"""What could not be done is set aside until its next attempt, and everything else goes on without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mcrelay.model.actions import (
    Acquire,
    Action,
    Close,
    DeleteFlow,
    Open,
    Release,
    SetFlow,
    StartWorker,
    StopWorker,
    SupervisorAction,
    WorkerAction,
)
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import DesiredState, Flow, Resource, Route, WorkerState
from mcrelay.reconcile.plan import Plan, supervisor_resource

FIRST_RETRY_DELAY_S, LONGEST_RETRY_DELAY_S = (
    1.0,
    30.0,
)  # before the next attempt; each pause is twice the one before

Subject = Flow | Resource


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """Why an attempt failed, the pause after it in seconds, and when the next one is due.

    `retry_at` is None while that next attempt is under way.
    """

    reason: str
    pause: float
    retry_at: float | None


@dataclass(slots=True)
class Failures:
    """The resources and flows that failed since the last plan, which a new configuration or link may cure."""

    by_subject: dict[Subject, FailedAttempt] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget all failures, so that everything is tried again at once."""
        self.by_subject.clear()

    def set_aside(self, action: WorkerAction | SupervisorAction, reason: str, now: float) -> None:
        """Set aside the subject of an action, after each failure for a longer pause."""
        before = self.by_subject.get(subject_of(action))
        pause = min(LONGEST_RETRY_DELAY_S, before.pause * 2) if before else FIRST_RETRY_DELAY_S
        self.by_subject[subject_of(action)] = FailedAttempt(reason, pause, now + pause)

    def wake(self, now: float) -> bool:
        """Release the subjects whose pause is over for their next attempt; return whether there are any."""
        awake = [one for one, failure in self.by_subject.items() if _is_due(failure, now)]
        for one in awake:
            self.by_subject[one] = replace(self.by_subject[one], retry_at=None)
        return bool(awake)

    def next_retry(self) -> float | None:
        """Return when the next pause is over, None where nothing is set aside."""
        times = (failure.retry_at for failure in self.by_subject.values() if failure.retry_at is not None)
        return min(times, default=None)

    def is_resting(self, action: WorkerAction | SupervisorAction) -> bool:
        """Return whether the subject of an action is set aside."""
        failure = self.by_subject.get(subject_of(action))
        return failure is not None and failure.retry_at is not None

    def forget_recovered(self, actions: Iterable[Action]) -> None:
        """Forget the failures whose next attempt succeeded: no action that is left to do is about them.

        The acknowledgement of one worker is not enough, because another worker may still refuse the same.
        """
        if not self.by_subject:
            return
        left = {subject_of(action) for action in actions if not isinstance(action, StartWorker | StopWorker)}
        self.by_subject = {
            one: failure
            for one, failure in self.by_subject.items()
            if failure.retry_at is not None or one in left
        }

    def without_resting(self, state: DesiredState) -> DesiredState:
        """Return `state` without what is set aside, and without what depends on that."""
        resting = {one for one, failure in self.by_subject.items() if failure.retry_at is not None}
        return _without(state, resting) if resting else state

    def statuses(self, plan: Plan) -> dict[str, RuleStatus]:
        """Return the status of every rule: the plan's, with what failed since then.

        A rule that lost some of its sources or outputs stays active, with the reasons.
        """
        statuses = dict(plan.rules)
        if self.by_subject:
            for rule, paths in self._failures_by_path(plan).items():
                statuses[rule] = _add_failures(statuses[rule], paths)
        return statuses

    def _failures_by_path(self, plan: Plan) -> dict[str, list[list[FailedAttempt]]]:
        """Return, for each path of a rule from one source to one output, the failures on that path."""
        forwarding = plan.state.forwarding
        rings = {ingress.ifindex: ingress for ingress in forwarding.ingress}
        paths: dict[str, list[list[FailedAttempt]]] = {}
        for flow, route in forwarding.flows.items():
            for output in route.outputs:
                needed = (rings[flow.ifindex], flow, supervisor_resource(flow), output.egress)
                failed = [self.by_subject[one] for one in needed if one in self.by_subject]
                paths.setdefault(route.rule, []).append(failed)
        return paths


def subject_of(action: WorkerAction | SupervisorAction) -> Subject:
    """Return the resource or the flow that an action is about."""
    match action:
        case Open(_, resource) | Close(_, resource):
            return resource
        case Acquire(acquired) | Release(acquired):
            return acquired
        case SetFlow(_, flow, _) | DeleteFlow(_, flow):  # pragma: no branch: there is no other
            return flow


def _is_due(failure: FailedAttempt, now: float) -> bool:
    return failure.retry_at is not None and failure.retry_at <= now


def _add_failures(planned: RuleStatus, paths: Sequence[Sequence[FailedAttempt]]) -> RuleStatus:
    if not any(paths):
        return planned
    reasons = dict.fromkeys(failure.reason for path in paths for failure in path)
    state = RuleState.FAILED if all(paths) else planned.state
    return RuleStatus(state, planned.reason).because(*reasons)


def _without(state: DesiredState, failed: set[Subject]) -> DesiredState:
    """Return `state` without what failed, and without the flows and outputs that need it."""
    forwarding = _forwarding_without(state.forwarding, failed)
    return DesiredState(forwarding, state.worker_count, state.resources - failed)


def _forwarding_without(state: WorkerState, failed: set[Subject]) -> WorkerState:
    left = WorkerState(state.resources - failed)
    egress, links = left.egress, {ring.ifindex for ring in left.ingress}
    flows = {}
    for flow, route in state.flows.items():
        outputs = tuple(output for output in route.outputs if output.egress in egress)
        if flow.ifindex in links and outputs and flow not in failed:
            flows[flow] = route if len(outputs) == len(route.outputs) else Route(route.rule, outputs)
    return WorkerState(left.resources, flows)
