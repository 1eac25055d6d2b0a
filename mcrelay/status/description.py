"""Rules and interfaces as JSON shows them: where packets come from, and where they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mcrelay.config.model import Interface, Output, Rule
from mcrelay.model.links import Link
from mcrelay.model.state import Membership, Route

Devices = Mapping[str, str]  # by the names of their interfaces


def described_input(rule: Rule, devices: Devices) -> dict[str, Any]:
    """Return what the rule takes."""
    return {
        "interface": rule.input.interface,
        "device": devices[rule.input.interface],
        "destination": rule.input.destination,
        "port": rule.input.port,
        "sources": list(rule.input.sources),
    }


def described_outputs(rule: Rule, devices: Devices, route: Route | None) -> list[dict[str, Any]]:
    """Return what the rule sends, in the order of the file; `route` is what runs of it.

    A `source` or `source_port` of null is chosen when the output begins to run.
    """
    sources = {output.name: output.egress.source for output in route.outputs} if route else {}
    return [_described(output, devices, sources) for output in rule.outputs]


def _described(output: Output, devices: Devices, sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        "interface": output.interface,
        "device": devices[output.interface],
        "destination": output.destination,
        "port": output.port,
        "source": sources.get(output.name, output.source),
        "source_port": output.source_port or None,
        "ttl": output.ttl,
        "dscp": output.dscp,
        "runs": output.name in sources,
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
