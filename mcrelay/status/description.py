"""Descriptions of rules and interfaces for JSON, without counters, as in `status`, `plan` and the snapshot.

The fields of rules and outputs are those that config/changes.py compares. entries.py adds the state, the
reason and the counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mcrelay.config.changes import (
    INPUT_FIELDS,
    OUTPUT_FIELDS,
    RULE_FIELDS,
    OutputFields,
    RuleFields,
    fields_of,
)
from mcrelay.config.model import Interface, Rule
from mcrelay.model.links import Link
from mcrelay.model.state import Membership, Route

Devices = Mapping[str, str]  # from the name of an interface to its device


def describe_rule(rule: Rule, devices: Devices, route: Route | None) -> dict[str, Any]:
    """Return the description of a rule, with its outputs in the order of the file.

    `route` has the outputs that run, and those that have a fault; it is None if the rule has no route.
    """
    described = fields_of(rule, devices, route)
    faults = {output.name: output.fault for output in route.outputs} if route else {}
    return {
        **_select(described, RULE_FIELDS),
        "input": {**_select(described, INPUT_FIELDS), "sources": list(described.sources)},
        "outputs": [
            {
                **_select(output, OUTPUT_FIELDS),
                "runs": output.name in faults and faults[output.name] is None,
                "fault": faults.get(output.name),
            }
            for output in described.outputs
        ],
    }


def describe_running_rule(
    rule: Rule, devices: Devices, route: Route | None, data_plane: str, reason: str
) -> dict[str, Any]:
    """Return the description of a rule, with its location, and its data plane with the reason for it."""
    return {
        "data_plane": data_plane,
        "data_plane_reason": reason,
        "file": rule.where.file,
        "line": rule.where.line,
        **describe_rule(rule, devices, route),
    }


def _select(values: RuleFields | OutputFields, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(values, name) for name in names}


def describe_interface(
    interface: Interface, link: Link | None, memberships: Iterable[Membership]
) -> dict[str, Any]:
    """Return the description of an interface, with its device and the groups that the device has joined.

    `link` is None if the device is absent.
    """
    groups = sorted((membership.group, membership.source or "") for membership in memberships)
    return {
        "device": interface.device,
        "link": str(link.state) if link else "absent",
        "altnames": list(link.altnames) if link else [],
        "mtu": link.mtu if link else None,
        "addresses": [entry.address for entry in link.addresses] if link else [],
        "memberships": [{"group": group, "source": source or None} for group, source in groups],
    }
