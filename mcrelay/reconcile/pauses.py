"""Which rules no worker forwards at the moment although nothing is wrong with them, and why."""

from __future__ import annotations

from collections.abc import Mapping

from mcrelay.model.rule_status import RuleState, RuleStatus, join_reasons
from mcrelay.model.state import DesiredState, RunningState
from mcrelay.reconcile.lifecycle import Process


def with_pauses(
    verdicts: Mapping[str, RuleStatus],
    desired: DesiredState,
    running: RunningState,
    processes: Mapping[int, Process],
) -> dict[str, RuleStatus]:
    """Return the verdicts, with what the workers do not forward although they should.

    A rule that some workers forward is active still, and says why the others do not.
    """
    forwarded = {worker: _rules(running, worker) for worker in desired.workers}
    reasons = {worker: _reason(worker, running, processes) for worker in desired.workers}
    result = dict(verdicts)
    for rule in _incomplete(verdicts, forwarded):
        away = [worker for worker, rules in forwarded.items() if rule not in rules]
        result[rule] = _marked(verdicts[rule], [reasons[worker] for worker in away], len(forwarded))
    return result


def _rules(running: RunningState, worker: int) -> set[str]:
    if worker not in running.workers:
        return set()
    return set(running.workers[worker].routes_by_rule())


def _incomplete(verdicts: Mapping[str, RuleStatus], forwarded: Mapping[int, set[str]]) -> list[str]:
    """Return the active rules that a worker lacks."""
    complete = set.intersection(*forwarded.values()) if forwarded else set()
    return [
        rule
        for rule, verdict in verdicts.items()
        if verdict.state is RuleState.ACTIVE and rule not in complete
    ]


def _marked(verdict: RuleStatus, reasons: list[str], workers: int) -> RuleStatus:
    if len(reasons) == workers:
        return RuleStatus(RuleState.PAUSED, verdict.reason).because(*reasons)
    share = f"{len(reasons)} of {workers} workers do not forward it"
    return verdict.because(f"{share}: {join_reasons(*reasons)}")


def _reason(worker: int, running: RunningState, processes: Mapping[int, Process]) -> str:
    if worker in running.workers:
        return f"worker {worker} is about to take it over"
    process = processes.get(worker, Process())
    if not process.restarts:
        return f"worker {worker} is starting"
    times = f" {process.restarts} times" if process.restarts > 1 else ""
    return f"worker {worker} died{times} ({process.reason}) and is {process.activity}"
