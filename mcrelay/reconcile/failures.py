"""What could not be done: set aside, with a time to try again, while everything else goes on without it."""

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
from mcrelay.reconcile.plan import Plan, claim

FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0  # seconds before what failed is tried again

Subject = Flow | Resource


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """Why something could not be done, and when it is tried again: None while it is being tried."""

    reason: str
    pause: float
    retry_at: float | None


@dataclass(slots=True)
class Failures:
    """All that failed since the last plan: news of a config or a link make every try worth while."""

    by_subject: dict[Subject, FailedAttempt] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget all of it: the next try is worth while at once."""
        self.by_subject.clear()

    def set_aside(self, action: WorkerAction | SupervisorAction, reason: str, now: float) -> None:
        """Let what an action is about rest, longer each time."""
        before = self.by_subject.get(subject(action))
        pause = min(LONGEST_RETRY, before.pause * 2) if before else FIRST_RETRY
        self.by_subject[subject(action)] = FailedAttempt(reason, pause, now + pause)

    def wake(self, now: float) -> bool:
        """Let those be tried again whose time has come, and tell whether there are any."""
        awake = [one for one, failure in self.by_subject.items() if _is_due(failure, now)]
        for one in awake:
            self.by_subject[one] = replace(self.by_subject[one], retry_at=None)
        return bool(awake)

    def next_retry(self) -> float | None:
        """Return when the next one wakes."""
        times = (failure.retry_at for failure in self.by_subject.values() if failure.retry_at is not None)
        return min(times, default=None)

    def is_resting(self, action: WorkerAction | SupervisorAction) -> bool:
        """Tell whether an action is about something that rests."""
        failure = self.by_subject.get(subject(action))
        return failure is not None and failure.retry_at is not None

    def forget_recovered(self, actions: Iterable[Action]) -> None:
        """Forget the failures that were tried again and that none of the `actions` left to do is about.

        An acknowledgement alone says less: another worker may refuse still what this one has taken.
        """
        if not self.by_subject:
            return
        left = {subject(action) for action in actions if not isinstance(action, StartWorker | StopWorker)}
        self.by_subject = {
            one: failure
            for one, failure in self.by_subject.items()
            if failure.retry_at is not None or one in left
        }

    def without_resting(self, state: DesiredState) -> DesiredState:
        """Return `state` less what rests."""
        resting = {one for one, failure in self.by_subject.items() if failure.retry_at is not None}
        return without(state, resting) if resting else state

    def statuses(self, plan: Plan) -> dict[str, RuleStatus]:
        """Return the state of every rule, with what failed since it was planned.

        A rule that lost some of its sources or outputs is active still, and says why.
        """
        verdicts = dict(plan.rules)
        if self.by_subject:
            for rule, ways in self._ways(plan).items():
                verdicts[rule] = _marked(verdicts[rule], ways)
        return verdicts

    def _ways(self, plan: Plan) -> dict[str, list[list[FailedAttempt]]]:
        """Return every way through a rule, from one source to one output, as what fails on it."""
        forwarding = plan.state.forwarding
        rings = {ingress.ifindex: ingress for ingress in forwarding.ingress}
        ways: dict[str, list[list[FailedAttempt]]] = {}
        for flow, route in forwarding.flows.items():
            for output in route.outputs:
                needed = (rings[flow.ifindex], flow, claim(flow), output.egress)
                failed = [self.by_subject[one] for one in needed if one in self.by_subject]
                ways.setdefault(route.rule, []).append(failed)
        return ways


def subject(action: WorkerAction | SupervisorAction) -> Subject:
    """Return the resource or the flow that an action is about."""
    match action:
        case Open(_, resource) | Close(_, resource):
            return resource
        case Acquire(claimed) | Release(claimed):
            return claimed
        case SetFlow(_, flow, _) | DeleteFlow(_, flow):  # pragma: no branch: there is no other
            return flow


def _is_due(failure: FailedAttempt, now: float) -> bool:
    return failure.retry_at is not None and failure.retry_at <= now


def _marked(planned: RuleStatus, ways: Sequence[Sequence[FailedAttempt]]) -> RuleStatus:
    if not any(ways):
        return planned
    reasons = dict.fromkeys(failure.reason for way in ways for failure in way)
    state = RuleState.FAILED if all(ways) else planned.state
    return RuleStatus(state, planned.reason).because(*reasons)


def without(state: DesiredState, failed: set[Subject]) -> DesiredState:
    """Return `state` less what failed and what cannot be without it."""
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
