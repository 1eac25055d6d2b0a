"""Rules and interfaces as JSON shows them: where packets come from, and where they go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mcrelay.config import Config, Interface, Output, Rule
from mcrelay.links import Link
from mcrelay.state import Membership, Route, output_name


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


def described_interface(
    interface: Interface, link: Link | None, memberships: Iterable[Membership]
) -> dict[str, Any]:
    """Return an interface, the device behind it (None where it is absent), and the groups it has joined."""
    groups = sorted((one.group, one.source or "") for one in memberships)
    addresses = list(link.addresses) if link else []
    return {
        "device": interface.device,
        "ifindex": link.ifindex if link else None,
        "link": "absent" if link is None else "up" if link.up else "down",
        "mtu": link.mtu if link else None,
        "addresses": addresses,
        "source": interface.source or next(iter(addresses), None),
        "memberships": [{"group": group, "source": source or None} for group, source in groups],
    }
