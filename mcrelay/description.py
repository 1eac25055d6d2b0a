"""A rule as JSON shows it: where its packets come from, and where they go."""

from __future__ import annotations

from typing import Any

from mcrelay.config import Config, Output, Rule
from mcrelay.state import Route, output_name


def described_input(rule: Rule, config: Config) -> dict[str, Any]:
    """Return what the rule takes."""
    return {
        "interface": rule.input.interface,
        "device": config.interfaces[rule.input.interface].device,
        "destination": rule.input.destination,
        "port": rule.input.port,
        "sources": list(rule.input.sources),
    }


def described_outputs(rule: Rule, config: Config, route: Route | None) -> list[dict[str, Any]]:
    """Return what the rule sends, in the order of the file; `route` is what runs of it.

    A `source` or `source_port` of null is chosen when the output begins to run.
    """
    sources = {output.name: output.egress.source for output in route.outputs} if route else {}
    return [_described(output, config, sources) for output in rule.outputs]


def _described(output: Output, config: Config, sources: dict[str, str]) -> dict[str, Any]:
    name = output_name(output.interface, output.destination, output.port)
    return {
        "interface": output.interface,
        "device": config.interfaces[output.interface].device,
        "destination": output.destination,
        "port": output.port,
        "source": sources.get(name, output.source),
        "source_port": output.source_port or None,
        "ttl": output.ttl,
        "dscp": output.dscp,
        "runs": name in sources,
    }
