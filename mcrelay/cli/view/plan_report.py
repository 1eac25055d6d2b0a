"""What a configuration would run on this host: as JSON, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli.view.plan_changes import Comparison
from mcrelay.cli.view.rule_detail import format_endpoint, format_header
from mcrelay.cli.view.terminal import GREEN, RED, YELLOW, paint
from mcrelay.cli.view.units import format_count
from mcrelay.config.model import Config, Rule
from mcrelay.model.rule_status import RuleStatus
from mcrelay.model.state import Route
from mcrelay.reconcile.plan import Plan
from mcrelay.status.description import describe_rule

JSON_VERSION = 1  # version of the shape of `plan --json`


def plan_as_json(config: Config, planned: Plan) -> dict[str, Any]:
    """Return the documented shape, but for the file's name and what differs from what runs."""
    routes = planned.state.forwarding.routes_by_rule()
    devices = {name: interface.device for name, interface in config.interfaces.items()}
    rules = (
        _rule(rule, devices, planned.rules[rule.name], routes.get(rule.name))
        for rule in config.rules.values()
    )
    return {
        "version": JSON_VERSION,
        "workers": planned.state.worker_count,
        "rules": list(rules),
        "opens": _opens(planned),
    }


def _rule(rule: Rule, devices: Mapping[str, str], verdict: RuleStatus, route: Route | None) -> dict[str, Any]:
    return {
        "name": rule.name,
        "state": str(verdict.state),
        "reason": verdict.reason,
        **describe_rule(rule, devices, route),
    }


def _opens(planned: Plan) -> dict[str, int]:
    state = planned.state
    return {
        "rings": state.worker_count * len(state.forwarding.ingress),
        "sockets": len(state.forwarding.egress),
        "memberships": len(state.memberships),
        "held ports": len(state.reservations),
    }


def format_start(file: str, prospect: Mapping[str, Any]) -> Iterator[str]:
    """Yield, of what `as_json` returned, every rule with its way in and its ways out, and what it takes."""
    running = sum(rule["state"] == "active" for rule in prospect["rules"])
    yield f"{file}: a start would run {running} of {format_count(len(prospect['rules']), 'rule')}"
    for rule in prospect["rules"]:
        yield ""
        yield f"{rule['name']}: {_state(rule)}"
        yield from format_endpoints(rule)
    opens = [format_count(count, noun.removesuffix("s")) for noun, count in prospect["opens"].items()]
    yield ""
    yield f"It would start {format_count(prospect['workers'], 'worker')} and open {', '.join(opens)}."


def format_endpoints(rule: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a rule takes, and where it sends it."""
    taken = rule["input"]
    sources = f" from {', '.join(taken['sources'])}" if taken["sources"] else ""
    yield f"  in   {format_endpoint(taken)}{sources}"
    for output in rule["outputs"]:
        idle = "" if output["runs"] else "  (does not run)"
        yield f"  out  {format_endpoint(output)}  {format_header(output)}{idle}"


def format_reload(
    file: str, prospect: Mapping[str, Any], comparison: Comparison, colour: bool
) -> Iterator[str]:
    """Yield what a reload would add, change and remove, and what is not well of what it would keep."""
    yield f"{file}: a reload would {_summarize(comparison)}"
    rules = {rule["name"]: rule for rule in prospect["rules"]}
    for name in comparison.add:
        yield from (
            "",
            paint(f"+ {name}: {_state(rules[name])}", GREEN, colour),
            *format_endpoints(rules[name]),
        )
    for name, differences in comparison.change.items():
        yield from ("", paint(f"~ {name}: {_state(rules[name])}", YELLOW, colour))
        yield from (f"  {difference}" for difference in differences)
    if comparison.remove:
        yield ""
        yield from (paint(f"- {name}", RED, colour) for name in comparison.remove)
    if comparison.astray:
        yield ""
        yield from (f"= {name}: {why}" for name, why in comparison.astray.items())


def _summarize(comparison: Comparison) -> str:
    before, after = comparison.workers
    numbers = {verb: len(getattr(comparison, verb)) for verb in ("add", "change", "remove")}
    told = [f"{verb} {format_count(number, 'rule')}" for verb, number in numbers.items() if number]
    if before != after:
        told.append(f"run {format_count(after, 'worker')} instead of {before}")
    return f"{', '.join(told) or 'change nothing'}, and keep {format_count(len(comparison.keep), 'rule')}"


def _state(rule: Mapping[str, Any]) -> str:
    return f"{rule['state']}" + (f" ({rule['reason']})" if rule["reason"] else "")
