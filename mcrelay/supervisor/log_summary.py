"""What runs and what became of the packets, as lines that a human reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from mcrelay.linux.netlink import device_of
from mcrelay.model.counters import RULES
from mcrelay.model.drops import SEND_ERROR_NAMES, Drop
from mcrelay.model.rule_status import RuleStatus
from mcrelay.model.state import Route
from mcrelay.reconcile.plan import Plan
from mcrelay.supervisor.counter_rows import CounterRows

MOST = 50  # lines in the log for one event

_RULE_DROPS = [reason for reason in Drop if reason in RULES.columns]


def lines(plan: Plan, verdicts: Mapping[str, RuleStatus], ledger: CounterRows) -> Iterator[str]:
    """Describe every rule with its state and counters, its outputs below it, and the links."""
    forwarding = plan.state.forwarding
    routes = forwarding.routes_by_rule()
    for name, verdict in verdicts.items():
        reason = f": {verdict.reason}" if verdict.reason else ""
        yield f"rule {name}: {verdict.state}{reason}"
        if name in routes:
            yield from _traffic(routes[name], ledger)
    for ifindex in sorted({flow.ifindex for flow in forwarding.flows}):
        yield f"device {device_of(ifindex)}: {_link(ifindex, ledger)}"


def first(lines: Collection[str]) -> Iterator[str]:
    """Yield lines for the log, of very many only the first and how many more there are."""
    yield from islice(lines, MOST)
    if len(lines) > MOST:
        yield f"... and {len(lines) - MOST} more: `mcrelay status` has all of them"


def _traffic(route: Route, ledger: CounterRows) -> Iterator[str]:
    counts = ledger.rule(route.rule)
    yield f"  in  {_packets(counts)}{_drops({reason: counts[reason] for reason in _RULE_DROPS})}"
    for output in route.outputs:
        counts = ledger.output(route.rule, output)
        drops = {name: counts[name] for name in ("ttl", *SEND_ERROR_NAMES)}
        yield f"  out {_packets(counts)} to {output.name} from {output.egress.source}{_drops(drops)}"


def _link(ifindex: int, ledger: CounterRows) -> str:
    counts = ledger.link(ifindex)
    reasons = ("no_rule", "fragment", "malformed", "oversize", "overrun")
    return _packets(counts) + _drops({reason: counts[reason] for reason in reasons})


def _packets(counts: Mapping[str, int]) -> str:
    return f"{counts['packets']} packets, {counts['octets']} octets"


def _drops(counts: Mapping[str, int]) -> str:
    dropped = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return f"; dropped: {dropped}" if dropped else ""
