"""Which rules are traced: what the control process asks for, and what it is to be told about it."""

from __future__ import annotations

from collections.abc import Mapping

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import Trace
from mcrelay.protocol.control import TraceState
from mcrelay.reconcile.reconciler import Reconciler

MAX_TRACES = 16  # rules traced at once


class TraceRequests:
    """The traces that are wanted, and which workers' rings of them the control process knows."""

    def __init__(self) -> None:
        self._by_rule: dict[str, Trace] = {}
        self._told: dict[Trace, tuple[int, ...]] = {}
        self._refused: list[TraceState] = []
        self._numbers = 0

    @property
    def traces(self) -> frozenset[Trace]:
        """What is to be traced."""
        return frozenset(self._by_rule.values())

    def request(self, rule: str, wanted: bool) -> None:
        """The control process wants a rule to be traced, or no longer."""
        if not wanted:
            self._forget(rule)
        elif rule in self._by_rule:
            self._told.pop(self._by_rule[rule], None)  # it is told again
        elif len(self._by_rule) == MAX_TRACES:
            self._refused.append(
                TraceState(rule, 0, (), f"{MAX_TRACES} rules are traced already; end one of those")
            )
        else:
            self._numbers += 1
            self._by_rule[rule] = Trace(rule, self._numbers)

    def forget_all(self) -> None:
        """Whoever wanted them is gone."""
        self._by_rule, self._told, self._refused = {}, {}, []

    def reports(self, reconciler: Reconciler) -> list[TraceState]:
        """Return what there is to tell now, nothing twice. What cannot be traced is wanted no more."""
        news, self._refused = self._refused, []
        if not self._by_rule:
            return news
        verdicts = reconciler.statuses()
        for rule, trace in list(self._by_rule.items()):
            if reason := _why_not(trace, verdicts, reconciler):
                self._forget(rule)
                news.append(TraceState(rule, trace.number, (), reason))
            elif self._told.get(trace) != (workers := tuple(reconciler.desired.workers)) and _runs(
                trace, reconciler
            ):
                self._told[trace] = workers
                news.append(TraceState(rule, trace.number, workers))
        return news

    def _forget(self, rule: str) -> None:
        if trace := self._by_rule.pop(rule, None):
            self._told.pop(trace, None)


def _why_not(trace: Trace, verdicts: Mapping[str, RuleStatus], reconciler: Reconciler) -> str:
    if failure := reconciler.failures.by_subject.get(trace):
        return failure.reason
    if (verdict := verdicts.get(trace.rule)) is None:
        return f"there is no rule {trace.rule}"
    if verdict.state is not RuleState.ACTIVE:
        return f"the rule is {verdict.state}: {verdict.reason}"
    return ""


def _runs(trace: Trace, reconciler: Reconciler) -> bool:
    """Tell whether all workers that live have confirmed it; the others will, when they are back."""
    running, desired = reconciler.running.workers, reconciler.desired.workers
    return all(trace in have.resources for worker, have in running.items() if worker in desired)
