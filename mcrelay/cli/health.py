"""What is not as it should be: the reasons for which `mcrelay status --exit-code` ends with 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli.view.units import counted
from mcrelay.model.suggestions import listed

Part = Mapping[str, Any]  # of the document; schemas/status.schema.json describes it


def troubles(document: Part) -> Iterator[str]:
    """Yield each: a rule that should run and does not run whole, a file that does not, a lost process."""
    if ill := [rule["name"] for rule in document["rules"] if _is_ill(rule)]:
        yield f"{counted(len(ill), 'rule')} not running, or not whole: {listed(ill)}"
    if document["reload"]["outcome"] == "rejected":
        yield "the file was rejected at the last reload"
    if document["reload"]["outcome"] == "rolled_back":
        yield "the file was rolled back: what runs is what was confirmed before"
    if lost := [one["name"] for one in document["processes"] if one["state"] == "pausing"]:
        yield f"died, and not back yet: {listed(lost)}"


def _is_ill(rule: Part) -> bool:
    """Whether the rule is enabled, and either does not run or does with a reservation."""
    return rule["enabled"] and (rule["state"] != "active" or bool(rule["reason"]))
