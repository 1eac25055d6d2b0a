"""Rules and interfaces as JSON shows them, without counters: `status`, `plan` and the snapshot share this.

The names of keys stand here and nowhere else, except those that entries.py adds: state, reason and counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mcrelay.config.model import Interface, Output, Rule
from mcrelay.model.links import Link
from mcrelay.model.state import Membership, Route

Devices = Mapping[str, str]  # by the names of their interfaces


def describe_rule(rule: Rule, devices: Devices, route: Route | None) -> dict[str, Any]:
    """Return a rule with its input and its outputs in the order of the file; `route` is its running part."""
    sources = {output.name: output.egress.source for output in route.outputs} if route else {}
    return {
        "description": rule.description,
        "enabled": rule.enabled,
        "input": _input(rule, devices),
        "outputs": [_output(output, devices, sources) for output in rule.outputs],
    }


def describe_running_rule(rule: Rule, devices: Devices, route: Route | None) -> dict[str, Any]:
    """Return the same with the data plane and the position of the rule in the files."""
    return {
        "data_plane": "userspace",
        "data_plane_reason": "",
        "file": rule.where.file,
        "line": rule.where.line,
        **describe_rule(rule, devices, route),
    }


def _input(rule: Rule, devices: Devices) -> dict[str, Any]:
    return {
        "interface": rule.input.interface,
        "device": devices[rule.input.interface],
        "destination": rule.input.destination,
        "port": rule.input.port,
        "sources": list(rule.input.sources),
    }


def _output(output: Output, devices: Devices, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return an output. A `source` or `source_port` of None is chosen when the output begins to run."""
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


def describe_interface(
    interface: Interface, link: Link | None, memberships: Iterable[Membership]
) -> dict[str, Any]:
    """Return an interface, the device behind it (None where it is absent), and the groups it has joined."""
    groups = sorted((one.group, one.source or "") for one in memberships)
    return {
        "device": interface.device,
        "link": "absent" if link is None else "up" if link.up else "down",
        "mtu": link.mtu if link else None,
        "addresses": list(link.addresses) if link else [],
        "memberships": [{"group": group, "source": source or None} for group, source in groups],
    }
