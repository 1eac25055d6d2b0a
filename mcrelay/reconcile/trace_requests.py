"""Trace requests: which rules the control process wants to trace, and the reports that it gets."""

from __future__ import annotations

from collections.abc import Mapping

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import Trace
from mcrelay.protocol.control import TraceState
from mcrelay.reconcile.reconciler import Reconciler

MAX_TRACES = 16  # rules traced at once


class TraceRequests:
    """The traces that are requested, and the workers whose rings the control process has got for each."""

    def __init__(self) -> None:
        self._by_rule: dict[str, Trace] = {}
        self._reported: dict[Trace, tuple[int, ...]] = {}
        self._refused: list[TraceState] = []
        self._numbers = 0

    @property
    def traces(self) -> frozenset[Trace]:
        """The traces to run."""
        return frozenset(self._by_rule.values())

    def request(self, rule: str, wanted: bool) -> None:
        """Begin or end the trace of a rule, as the control process requests."""
        if not wanted:
            self._forget(rule)
        elif rule in self._by_rule:
            self._reported.pop(self._by_rule[rule], None)  # reported once more
        elif len(self._by_rule) == MAX_TRACES:
            self._refused.append(
                TraceState(rule, 0, (), f"{MAX_TRACES} rules are traced already; end one of those")
            )
        else:
            self._numbers += 1
            self._by_rule[rule] = Trace(rule, self._numbers)

    def forget_all(self) -> None:
        """Forget all requests, because the control process that made them is gone."""
        self._by_rule, self._reported, self._refused = {}, {}, []

    def reports(self, reconciler: Reconciler) -> list[TraceState]:
        """Return the reports that are due, none of them twice; a trace that fails is forgotten."""
        reports, self._refused = self._refused, []
        if not self._by_rule:
            return reports
        statuses = reconciler.statuses()
        for rule, trace in list(self._by_rule.items()):
            if reason := _why_not(trace, statuses, reconciler):
                self._forget(rule)
                reports.append(TraceState(rule, trace.number, (), reason))
            elif self._reported.get(trace) != (workers := tuple(reconciler.desired.workers)) and _runs(
                trace, reconciler
            ):
                self._reported[trace] = workers
                reports.append(TraceState(rule, trace.number, workers))
        return reports

    def _forget(self, rule: str) -> None:
        if trace := self._by_rule.pop(rule, None):
            self._reported.pop(trace, None)


def _why_not(trace: Trace, statuses: Mapping[str, RuleStatus], reconciler: Reconciler) -> str:
    if failure := reconciler.failures.by_subject.get(trace):
        return failure.reason
    if (status := statuses.get(trace.rule)) is None:
        return f"there is no rule {trace.rule}"
    if status.state is not RuleState.ACTIVE:
        return f"the rule is {status.state}: {status.reason}"
    return ""


def _runs(trace: Trace, reconciler: Reconciler) -> bool:
    """Return whether all workers that run have confirmed a trace; the others do so when they restart."""
    running, desired = reconciler.running.workers, reconciler.desired.workers
    return all(trace in have.resources for worker, have in running.items() if worker in desired)
