"""Trace requests: the rules that the control process wants to trace, and the reports of the supervisor."""

from __future__ import annotations

from collections.abc import Mapping

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import KERNEL, Trace
from mcrelay.protocol.control import TraceState
from mcrelay.reconcile.reconciler import Reconciler

MAX_TRACES = 16  # rules traced at once


class TraceRequests:
    """The requested traces, and for each trace the workers whose rings were reported."""

    def __init__(self) -> None:
        self._by_rule: dict[str, Trace] = {}
        self._reported: dict[Trace, tuple[int, ...]] = {}
        self._refused: list[TraceState] = []
        self._numbers = 0

    @property
    def traces(self) -> frozenset[Trace]:
        """The requested traces."""
        return frozenset(self._by_rule.values())

    def request(self, rule: str, wanted: bool) -> None:
        """Begin or end the trace of a rule at the request of the control process."""
        if not wanted:
            self._forget(rule)
        elif rule in self._by_rule:
            self._reported.pop(self._by_rule[rule], None)  # so that it is reported again
        elif len(self._by_rule) == MAX_TRACES:
            self._refused.append(
                TraceState(rule, 0, (), f"{MAX_TRACES} rules are already traced; end one of these traces")
            )
        else:
            self._numbers += 1
            self._by_rule[rule] = Trace(rule, self._numbers)

    def forget_all(self) -> None:
        """Forget all requests, because the control process that made them has exited."""
        self._by_rule, self._reported, self._refused = {}, {}, []

    def reports(self, reconciler: Reconciler) -> list[TraceState]:
        """Return the reports that are due, each of them once; a trace that fails is forgotten."""
        reports, self._refused = self._refused, []
        if not self._by_rule:
            return reports
        statuses = reconciler.statuses()
        for rule, trace in list(self._by_rule.items()):
            if reason := _reason_not_traced(trace, statuses, reconciler):
                self._forget(rule)
                reports.append(TraceState(rule, trace.number, (), reason))
            elif self._reported.get(trace) != (workers := tuple(reconciler.desired.workers)) and _is_running(
                trace, reconciler
            ):
                self._reported[trace] = workers
                reports.append(TraceState(rule, trace.number, workers))
        return reports

    def _forget(self, rule: str) -> None:
        if trace := self._by_rule.pop(rule, None):
            self._reported.pop(trace, None)


def _reason_not_traced(trace: Trace, statuses: Mapping[str, RuleStatus], reconciler: Reconciler) -> str:
    if failure := reconciler.failures.by_subject.get(trace):
        return failure.reason
    if (status := statuses.get(trace.rule)) is None:
        return f"there is no rule {trace.rule}"
    if status.state is not RuleState.ACTIVE:
        return f"the rule is {status.state}: {status.reason}"
    return ""


def _is_running(trace: Trace, reconciler: Reconciler) -> bool:
    """Return whether all running workers have confirmed a trace, and the kernel has left them its rules.

    A restarting worker confirms the trace later. The kernel goes on until the workers have taken a rule.
    """
    running, desired = reconciler.running.workers, reconciler.desired.workers
    if KERNEL in running and running[KERNEL].flows.keys() & reconciler.desired.forwarding.flows.keys():
        return False
    return all(trace in have.resources for worker, have in running.items() if worker in desired)
