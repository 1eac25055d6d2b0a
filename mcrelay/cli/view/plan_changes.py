"""Compares the running rules of a status document with the rules of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcrelay.config.changes import OutputFields, RuleFields, compare_rules

Document = Mapping[str, Any]  # of `status` or of `plan --json`, or a part of one: both have the same rules


@dataclass(frozen=True, slots=True)
class Comparison:
    """The names of the rules that a reload would add, change, remove and keep.

    `change` has the differences of each rule. `astray` says of kept rules why they are not in the planned
    state. `workers` are their numbers now and then.
    """

    add: Sequence[str]
    change: Mapping[str, Sequence[str]]
    remove: Sequence[str]
    keep: Sequence[str]
    astray: Mapping[str, str]
    workers: tuple[int, int]

    @property
    def is_empty(self) -> bool:
        """Whether a reload would change nothing."""
        return not (self.add or self.change or self.remove or self.workers[0] != self.workers[1])


def compare(running: Document, planned: Document) -> Comparison:
    """Return the difference between a status document and a plan."""
    have = {rule["name"]: rule for rule in running["rules"]}
    want = {rule["name"]: rule for rule in planned["rules"]}
    changes = compare_rules(
        {name: _fields(rule) for name, rule in have.items()},
        {name: _fields(rule) for name, rule in want.items()},
    )
    return Comparison(
        add=changes.added,
        change=changes.changed,
        remove=changes.removed,
        keep=changes.kept,
        astray={name: why for name in changes.kept if (why := _astray(have[name], want[name]))},
        workers=(sum(one["kind"] == "worker" for one in running["processes"]), planned["workers"]),
    )


def _astray(running: Document, planned: Document) -> str:
    """Return why a rule is in another state than planned, or an empty text."""
    if running["state"] == planned["state"]:
        return ""
    reason = f": {running['reason']}" if running["reason"] else ""
    return f"{running['state']}, not {planned['state']}{reason}"


def _fields(rule: Document) -> RuleFields:
    taken = rule["input"]
    return RuleFields(
        description=rule["description"],
        enabled=rule["enabled"],
        interface=taken["interface"],
        device=taken["device"],
        destination=taken["destination"],
        port=taken["port"],
        sources=tuple(taken["sources"]),
        outputs=tuple(_output_fields(output) for output in rule["outputs"]),
    )


def _output_fields(output: Document) -> OutputFields:
    return OutputFields(
        interface=output["interface"],
        device=output["device"],
        destination=output["destination"],
        port=output["port"],
        source=output["source"],
        source_port=output["source_port"],
        ttl=output["ttl"],
        dscp=output["dscp"],
    )
