"""The plan of a configuration on this host, as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli.view.plan_changes import Comparison
from mcrelay.cli.view.rule_detail import format_accepted, format_endpoint, format_header
from mcrelay.cli.view.terminal import GREEN, RED, YELLOW, paint
from mcrelay.cli.view.units import format_count
from mcrelay.config.changes import settings_of
from mcrelay.config.model import Config, Rule
from mcrelay.model.state import Route
from mcrelay.reconcile.placement import placement_without_route
from mcrelay.reconcile.plan import Plan
from mcrelay.reload.degraded import DegradedRule, describe_degraded, sort_degraded
from mcrelay.status.description import describe_rule

JSON_VERSION = 1  # version of the shape of `plan --json`


def plan_as_json(config: Config, planned: Plan) -> dict[str, Any]:
    """Return the object of `plan --json`, without `file`, `against` and `changes`."""
    routes = planned.state.routes_by_rule()
    devices = config.devices
    rules = (
        _describe_planned_rule(rule, devices, planned, routes.get(rule.name))
        for rule in config.rules.values()
    )
    return {
        "version": JSON_VERSION,
        "settings": settings_of(config),
        "workers": len(planned.state.workers),
        "rules": list(rules),
        "opens": _count_resources(planned),
    }


def _describe_planned_rule(
    rule: Rule, devices: Mapping[str, str], planned: Plan, route: Route | None
) -> dict[str, Any]:
    status = planned.rules[rule.name]
    placement = planned.placements.get(rule.name) or placement_without_route(rule)
    return {
        "name": rule.name,
        "state": str(status.state),
        "reason": status.reason,
        "data_plane": placement.data_plane,
        "data_plane_reason": placement.reason,
        **describe_rule(rule, devices, route),
    }


def _count_resources(planned: Plan) -> dict[str, int]:
    state = planned.state
    return {
        "rings": len(state.workers) * len(state.forwarding.ingress),
        "sockets": len(state.egress),
        "memberships": len(state.memberships),
        "held ports": len(state.reservations),
    }


def format_start(file: str, plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about a start: each rule with its input and outputs, and the numbers of sockets."""
    running = sum(rule["state"] == "active" for rule in plan["rules"])
    yield f"{file}: a start would run {running} of {format_count(len(plan['rules']), 'rule')}"
    for rule in plan["rules"]:
        yield ""
        yield f"{rule['name']}: {_format_state(rule)}"
        yield from format_endpoints(rule)
    opens = [format_count(count, noun.removesuffix("s")) for noun, count in plan["opens"].items()]
    yield ""
    yield f"It would start {format_count(plan['workers'], 'worker')} and open {', '.join(opens)}."
    yield from _format_degraded(plan)


def format_endpoints(rule: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for a data plane that is not the wanted one, for the input and for each output."""
    if rule["data_plane_reason"]:
        yield f"  {rule['data_plane']} data plane: {rule['data_plane_reason']}"
    yield f"  in   {format_accepted(rule['input'])}"
    for output in rule["outputs"]:
        idle = "" if output["runs"] else "  (does not run)"
        yield f"  out  {format_endpoint(output)}  {format_header(output)}{idle}"


def format_reload(file: str, plan: Mapping[str, Any], comparison: Comparison, colour: bool) -> Iterator[str]:
    """Yield the lines about a reload: changed settings and rules, and kept rules in an unplanned state."""
    yield f"{file}: a reload would {_summarize(comparison)}"
    if comparison.settings:
        yield ""
        yield from (paint(f"~ {text}", YELLOW, colour) for text in comparison.settings)
    rules = {rule["name"]: rule for rule in plan["rules"]}
    for name in comparison.add:
        yield from (
            "",
            paint(f"+ {name}: {_format_state(rules[name])}", GREEN, colour),
            *format_endpoints(rules[name]),
        )
    for name, differences in comparison.change.items():
        yield from ("", paint(f"~ {name}: {_format_state(rules[name])}", YELLOW, colour))
        yield from (f"  {difference}" for difference in differences)
    if comparison.remove:
        yield ""
        yield from (paint(f"- {name}", RED, colour) for name in comparison.remove)
    if comparison.astray:
        yield ""
        yield from (f"= {name}: {why}" for name, why in comparison.astray.items())
    if degraded := [*_format_degraded(plan)]:
        yield ""
        yield from (paint(line, YELLOW, colour) for line in degraded)


def _format_degraded(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about the rules that would not run, whether or not they would change."""
    rules = (DegradedRule(rule["name"], rule["state"], rule["reason"]) for rule in plan["rules"])
    return describe_degraded(sort_degraded(rules), is_planned=True)


def _summarize(comparison: Comparison) -> str:
    before, after = comparison.workers
    numbers = {verb: len(getattr(comparison, verb)) for verb in ("add", "change", "remove")}
    parts = [f"{verb} {format_count(number, 'rule')}" for verb, number in numbers.items() if number]
    if comparison.settings:
        parts.append(f"change {format_count(len(comparison.settings), 'setting')}")
    if before != after:
        parts.append(f"run {format_count(after, 'worker')} instead of {before}")
    return f"{', '.join(parts) or 'change nothing'}, and keep {format_count(len(comparison.keep), 'rule')}"


def _format_state(rule: Mapping[str, Any]) -> str:
    return f"{rule['state']}" + (f" ({rule['reason']})" if rule["reason"] else "")
