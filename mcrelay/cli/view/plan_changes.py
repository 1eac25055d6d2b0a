"""Compares the running rules of a status document with the rules of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcrelay.config.changes import (
    INPUT_FIELDS,
    OUTPUT_FIELDS,
    OutputFields,
    RuleFields,
    compare_rules,
    compare_settings,
)

Document = Mapping[str, Any]  # of `status` or `plan --json`, whose rules have the same keys; or a part of it


@dataclass(frozen=True, slots=True)
class Comparison:
    """The names of the rules that a reload would add, change, remove and keep.

    `change` has the differences of each changed rule. `astray` has the difference between the state and the
    planned state of kept rules. `workers` are the numbers of workers before and after the reload. `settings`
    has a text for each changed setting of the file.
    """

    add: Sequence[str]
    change: Mapping[str, Sequence[str]]
    remove: Sequence[str]
    keep: Sequence[str]
    astray: Mapping[str, str]
    workers: tuple[int, int]
    settings: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """True if a reload would change nothing."""
        is_same_number = self.workers[0] == self.workers[1]
        return is_same_number and not (self.add or self.change or self.remove or self.settings)


def compare(running: Document, planned: Document) -> Comparison:
    """Return the difference between a status document and a plan."""
    have = {rule["name"]: rule for rule in running["rules"]}
    want = {rule["name"]: rule for rule in planned["rules"]}
    changes = compare_rules(
        {name: _read_fields(rule) for name, rule in have.items()},
        {name: _read_fields(rule) for name, rule in want.items()},
    )
    return Comparison(
        add=changes.added,
        change=changes.changed,
        remove=changes.removed,
        keep=changes.kept,
        astray={name: text for name in changes.kept if (text := _compare_states(have[name], want[name]))},
        workers=(sum(process["kind"] == "worker" for process in running["processes"]), planned["workers"]),
        settings=compare_settings(running["generation"].get("settings", {}), planned["settings"]),
    )


def _compare_states(running: Document, planned: Document) -> str:
    """Return the difference between a rule's state and its planned state, or an empty text."""
    if running["state"] == planned["state"]:
        return ""
    reason = f": {running['reason']}" if running["reason"] else ""
    return f"{running['state']}, not {planned['state']}{reason}"


def _read_fields(rule: Document) -> RuleFields:
    rule_input = rule["input"]
    return RuleFields(
        description=rule["description"],
        enabled=rule["enabled"],
        # Daemons of earlier versions report neither: they had no other data plane.
        wanted_data_plane=rule.get("wanted_data_plane", "userspace"),
        exclusive=rule.get("exclusive", False),
        **{**{name: rule_input[name] for name in INPUT_FIELDS}, "sources": tuple(rule_input["sources"])},
        outputs=tuple(
            OutputFields(**{name: output[name] for name in OUTPUT_FIELDS}) for output in rule["outputs"]
        ),
    )
