"""Pauses of rules: valid rules that no worker forwards at present, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping

from mcrelay.model.rule_status import RuleState, RuleStatus, join_reasons
from mcrelay.model.state import KERNEL, DesiredState, RunningState
from mcrelay.reconcile.lifecycle import Phase, Process


def add_pauses(
    statuses: Mapping[str, RuleStatus],
    desired: DesiredState,
    running: RunningState,
    processes: Mapping[int, Process],
) -> dict[str, RuleStatus]:
    """Return the statuses of all rules, with the pauses of the rules that workers do not forward at present.

    A rule that no worker forwards is paused. A rule that only some workers forward stays active, with the
    reasons why the other workers do not forward it. A rule that one data plane forwards until the other one
    takes it is not paused.
    """
    of_kernel = desired.kernel.routes_by_rule()
    anywhere = {rule for number in running.workers for rule in _forwarded_rules(running, number)}
    in_kernel = _forwarded_rules(running, KERNEL)
    forwarded = {worker: _forwarded_rules(running, worker) for worker in desired.workers}
    reasons = {number: _reason(number, running, processes) for number in (KERNEL, *desired.workers)}
    result = dict(statuses)
    for rule in _incomplete_rules(statuses, forwarded):
        if rule in of_kernel:
            if rule not in anywhere:
                result[rule] = _add_reasons(statuses[rule], [reasons[KERNEL]], 1)
            continue
        if rule in in_kernel:
            continue
        lacking = [worker for worker, rules in forwarded.items() if rule not in rules]
        result[rule] = _add_reasons(statuses[rule], [reasons[worker] for worker in lacking], len(forwarded))
    return result


def _forwarded_rules(running: RunningState, worker: int) -> set[str]:
    if worker not in running.workers:
        return set()
    return set(running.workers[worker].routes_by_rule())


def _incomplete_rules(statuses: Mapping[str, RuleStatus], forwarded: Mapping[int, set[str]]) -> list[str]:
    """Return the active rules that at least one worker does not forward."""
    complete = set.intersection(*forwarded.values()) if forwarded else set()
    return [
        rule for rule, status in statuses.items() if status.state is RuleState.ACTIVE and rule not in complete
    ]


def _add_reasons(status: RuleStatus, reasons: list[str], workers: int) -> RuleStatus:
    if len(reasons) == workers:
        return RuleStatus(RuleState.PAUSED, status.reason).with_reasons(*reasons)
    share = f"{len(reasons)} of {workers} workers do not forward it"
    return status.with_reasons(f"{share}: {join_reasons(*reasons)}")


def _reason(number: int, running: RunningState, processes: Mapping[int, Process]) -> str:
    name = "the kernel data plane" if number == KERNEL else f"worker {number}"
    if number in running.workers:
        return f"{name} is about to forward it"
    process = processes.get(number, Process())
    if not process.restarts:
        return f"{name} is starting"
    times = f" {process.restarts} times" if process.restarts > 1 else ""
    activity = "waiting to restart" if process.phase is Phase.ABSENT else process.activity
    return f"{name} died{times} ({process.reason}) and is {activity}"
