"""What a reload would do: the running rules of a status document compared with those of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcrelay.config.changes import OutputFields, RuleFields, compare_fields

Part = Mapping[str, Any]  # of a status document, or of what `plan --json` prints: rules look the same in both


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a reload would do. `change` says what differs; `astray`, what is wrong with rules that stay."""

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


def compared(running: Part, planned: Part) -> Comparison:
    """Return what turns what a status document shows into what a plan asks for."""
    have = {rule["name"]: rule for rule in running["rules"]}
    want = {rule["name"]: rule for rule in planned["rules"]}
    changes = compare_fields(
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


def _astray(running: Part, planned: Part) -> str:
    """Return why a rule is not in the state that its file and the links of this host would have it in."""
    if running["state"] == planned["state"]:
        return ""
    reason = f": {running['reason']}" if running["reason"] else ""
    return f"{running['state']}, not {planned['state']}{reason}"


def _fields(rule: Part) -> RuleFields:
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


def _output_fields(output: Part) -> OutputFields:
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
