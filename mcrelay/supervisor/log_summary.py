"""The state of the rules and their traffic, as lines for the log."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from mcrelay.linux.netlink import device_of
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import Route
from mcrelay.reconcile.plan import Plan
from mcrelay.supervisor.counter_rows import CounterRows

log = logging.getLogger("mcrelay")

MAX_LINES = 50  # in the log for one event

_NORMAL_STATES = (RuleState.ACTIVE, RuleState.DISABLED)


class StatusLog:
    """Logs the rules whose status has changed since the last call."""

    def __init__(self) -> None:
        self._statuses: Mapping[str, RuleStatus] = {}

    def log_changes(self, statuses: Mapping[str, RuleStatus]) -> None:
        """Log each change: as a warning if the rule does not run or has a reason, else as information."""
        before, self._statuses = self._statuses, statuses
        lines: dict[int, list[str]] = {logging.INFO: [], logging.WARNING: []}
        for name, status in statuses.items():
            if status != before.get(name, RuleStatus(RuleState.ACTIVE)):
                is_normal = status.state in _NORMAL_STATES and not status.reason
                lines[logging.INFO if is_normal else logging.WARNING].append(_describe_rule(name, status))
        for level, changed in lines.items():
            log_lines(level, changed)


def count_states(statuses: Mapping[str, RuleStatus]) -> str:
    """Return the number of rules by state: `3 rules (2 active, 1 disabled)`."""
    states = [status.state for status in statuses.values()]
    counts = [f"{states.count(state)} {state}" for state in RuleState if state in states]
    noun = "rule" if len(states) == 1 else "rules"
    return f"{len(states)} {noun}" + (f" ({', '.join(counts)})" if counts else "")


def log_lines(level: int, lines: Collection[str], prefix: str = "") -> None:
    """Log lines that one event causes: at most MAX_LINES, then the number of lines that were left out."""
    for line in islice(lines, MAX_LINES):
        log.log(level, "%s%s", prefix, line)
    if len(lines) > MAX_LINES:
        log.log(level, "%s... and %d more: see `mcrelay status`", prefix, len(lines) - MAX_LINES)


def describe_traffic(
    plan: Plan, statuses: Mapping[str, RuleStatus], counter_rows: CounterRows
) -> Iterator[str]:
    """Yield lines with the status and counters of each rule, its input and outputs, and each link."""
    routes = plan.state.routes_by_rule()
    for name, status in statuses.items():
        yield _describe_rule(name, status)
        if name in routes:
            yield from _describe_route(routes[name], counter_rows)
    for ifindex in sorted({flow.ifindex for flow in plan.state.flows}):
        counts = counter_rows.link(ifindex)
        yield f"device {device_of(ifindex)}: {_packets(counts)}{_drops(counts, LINKS.drops)}"


def _describe_rule(name: str, status: RuleStatus) -> str:
    reason = f": {status.reason}" if status.reason else ""
    return f"rule {name}: {status.state}{reason}"


def _describe_route(route: Route, counter_rows: CounterRows) -> Iterator[str]:
    counts = counter_rows.rule(route.rule)
    yield f"  in  {_packets(counts)}{_drops(counts, RULES.drops)}"
    for output in route.outputs:
        counts = counter_rows.output(route.rule, output)
        drops = _drops(counts, OUTPUTS.drops)
        yield f"  out {_packets(counts)} to {output.name} from {output.egress.source}{drops}"


def _packets(counts: Mapping[str, int]) -> str:
    return f"{counts['packets']} packets, {counts['octets']} bytes"


def _drops(counts: Mapping[str, int], reasons: Iterable[str]) -> str:
    dropped = ", ".join(f"{reason} {counts[reason]}" for reason in reasons if counts[reason])
    return f"; dropped: {dropped}" if dropped else ""
