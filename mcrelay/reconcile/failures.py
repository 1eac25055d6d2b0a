"""Failed attempts: a failed resource or flow is set aside for a delay, and the rest runs without it."""

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
from mcrelay.model.state import Attachment, DesiredState, Flow, Ingress, Resource, WorkerState
from mcrelay.reconcile.plan import Plan, supervisor_resource

FIRST_RETRY_DELAY_S = 1.0  # each further delay is twice the previous delay
LONGEST_RETRY_DELAY_S = 30.0

Subject = Flow | Resource


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The reason of a failure, the delay of the next attempt in seconds, and the time of the next attempt.

    `retry_at` is None while the next attempt is under way.
    """

    reason: str
    delay: float
    retry_at: float | None


@dataclass(slots=True)
class Failures:
    """The resources and flows whose last attempt failed. A new plan clears them: it may remove the cause."""

    by_subject: dict[Subject, FailedAttempt] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget all failures, so that everything is attempted again at once."""
        self.by_subject.clear()

    def set_aside(self, action: WorkerAction | SupervisorAction, reason: str, now: float) -> None:
        """Set aside the subject of a failed action; the delay doubles with each failure."""
        before = self.by_subject.get(subject_of(action))
        delay = min(LONGEST_RETRY_DELAY_S, before.delay * 2) if before else FIRST_RETRY_DELAY_S
        self.by_subject[subject_of(action)] = FailedAttempt(reason, delay, now + delay)

    def begin_due_retries(self, now: float) -> bool:
        """Begin the next attempt for each subject whose delay is over; return whether there are any."""
        due = [subject for subject, failure in self.by_subject.items() if _is_due(failure, now)]
        for subject in due:
            self.by_subject[subject] = replace(self.by_subject[subject], retry_at=None)
        return bool(due)

    def next_retry(self) -> float | None:
        """Return the time of the next attempt, or None if nothing is set aside."""
        times = (failure.retry_at for failure in self.by_subject.values() if failure.retry_at is not None)
        return min(times, default=None)

    def is_set_aside(self, action: WorkerAction | SupervisorAction) -> bool:
        """Return whether the subject of an action is set aside."""
        failure = self.by_subject.get(subject_of(action))
        return failure is not None and failure.retry_at is not None

    def forget_recovered(self, actions: Iterable[Action]) -> None:
        """Forget the failures whose next attempt succeeded: none of the remaining `actions` is about them.

        The acknowledgement of one worker is not enough, because another worker may still refuse the action.
        """
        if not self.by_subject:
            return
        left = {subject_of(action) for action in actions if not isinstance(action, StartWorker | StopWorker)}
        self.by_subject = {
            subject: failure
            for subject, failure in self.by_subject.items()
            if failure.retry_at is not None or subject in left
        }

    def without_set_aside(self, state: DesiredState) -> DesiredState:
        """Return `state` without the subjects that are set aside, and without everything that needs them."""
        set_aside = {subject for subject, failure in self.by_subject.items() if failure.retry_at is not None}
        return _without(state, set_aside) if set_aside else state

    def statuses(self, plan: Plan) -> dict[str, RuleStatus]:
        """Return the status of every rule: its status in the plan, with the failures since then.

        A rule that lost only some of its sources or outputs stays active, with the reasons.
        """
        statuses = dict(plan.rules)
        if self.by_subject:
            for rule, paths in self._failures_by_path(plan).items():
                statuses[rule] = _add_failures(statuses[rule], paths)
        return statuses

    def _failures_by_path(self, plan: Plan) -> dict[str, list[list[FailedAttempt]]]:
        """Return the failures of each rule: a list for each path from a source to an output."""
        state = plan.state
        rings = {ingress.ifindex: ingress for ingress in state.forwarding.ingress}
        paths: dict[str, list[list[FailedAttempt]]] = {}
        for flow, route in state.flows.items():
            reader = Attachment(flow.ifindex) if flow in state.kernel.flows else rings[flow.ifindex]
            for output in route.outputs:
                needed = (reader, flow, supervisor_resource(flow), output.egress)
                failed = [self.by_subject[subject] for subject in needed if subject in self.by_subject]
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
    return RuleStatus(state, planned.reason).with_reasons(*reasons)


def _without(state: DesiredState, failed: set[Subject]) -> DesiredState:
    """Return `state` without the failed subjects, and without the flows and outputs that need them."""
    return replace(
        state,
        forwarding=_forwarding_without(state.forwarding, failed),
        resources=state.resources - failed,
        kernel=_forwarding_without(state.kernel, failed),
        keeps_workers=bool(state.workers),
        keeps_kernel=bool(state.kernel.flows),
    )


def _forwarding_without(state: WorkerState, failed: set[Subject]) -> WorkerState:
    """Return the state of the workers or of the kernel without what failed, and what needs it."""
    resources = state.resources - failed
    links = {item.ifindex for item in resources if isinstance(item, Ingress | Attachment)}
    flows = {}
    for flow, route in state.flows.items():
        outputs = tuple(output for output in route.outputs if output.egress not in failed)
        if flow.ifindex in links and outputs and flow not in failed:
            flows[flow] = route if len(outputs) == len(route.outputs) else replace(route, outputs=outputs)
    return WorkerState(resources, flows)
