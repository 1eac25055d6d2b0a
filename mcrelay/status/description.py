"""Descriptions of rules and interfaces for JSON, without counters, as in `status`, `plan` and the snapshot.

entries.py adds the state, the reason and the counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mcrelay.config.model import Interface, Output, Rule
from mcrelay.model.links import Link
from mcrelay.model.state import Membership, Route

Devices = Mapping[str, str]  # from the name of an interface to its device


def describe_rule(rule: Rule, devices: Devices, route: Route | None) -> dict[str, Any]:
    """Return the description of a rule, with its outputs in the order of the file.

    `route` has the outputs that run; it is None if the rule does not run.
    """
    sources = {output.name: output.egress.source for output in route.outputs} if route else {}
    return {
        "description": rule.description,
        "enabled": rule.enabled,
        "input": _input(rule, devices),
        "outputs": [_output(output, devices, sources) for output in rule.outputs],
    }


def describe_running_rule(
    rule: Rule, devices: Devices, route: Route | None, placement: tuple[str, str]
) -> dict[str, Any]:
    """Return the description of a rule, with its location in the files and its placement.

    `placement` is the data plane of the rule and the reason for the data plane.
    """
    data_plane, reason = placement
    return {
        "data_plane": data_plane,
        "data_plane_reason": reason,
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
    """Return the description of an output. A `source` or `source_port` of None is chosen when it starts."""
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
    """Return the description of an interface, with its device and the groups that the device has joined.

    `link` is None if the device is absent.
    """
    groups = sorted((membership.group, membership.source or "") for membership in memberships)
    return {
        "device": interface.device,
        "link": "absent" if link is None else "up" if link.up else "down",
        "mtu": link.mtu if link else None,
        "addresses": list(link.addresses) if link else [],
        "memberships": [{"group": group, "source": source or None} for group, source in groups],
    }
