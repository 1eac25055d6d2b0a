"""What runs beside what a file asks for: the rules that a reload would add, change, remove and keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Part = Mapping[str, Any]  # of a status document, or of what `plan --json` prints: rules look the same in both

_OF_THE_RULE = ("description", "enabled")
_OF_THE_INPUT = ("interface", "device", "destination", "port", "sources")
_OF_AN_OUTPUT = ("device", "source", "source_port", "ttl", "dscp")


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
    differences = {name: tuple(_differences(have[name], want[name])) for name in want if name in have}
    keep = tuple(name for name, differs in differences.items() if not differs)
    return Comparison(
        add=tuple(name for name in want if name not in have),
        change={name: differs for name, differs in differences.items() if differs},
        remove=tuple(name for name in have if name not in want),
        keep=keep,
        astray={name: why for name in keep if (why := _astray(have[name], want[name]))},
        workers=(sum(one["kind"] == "worker" for one in running["processes"]), planned["workers"]),
    )


def _astray(running: Part, planned: Part) -> str:
    """Return why a rule is not in the state that its file and the links of this host would have it in."""
    if running["state"] == planned["state"]:
        return ""
    reason = f": {running['reason']}" if running["reason"] else ""
    return f"{running['state']}, not {planned['state']}{reason}"


def _differences(running: Part, planned: Part) -> Iterator[str]:
    yield from _changed("", running, planned, _OF_THE_RULE)
    yield from _changed("input ", running["input"], planned["input"], _OF_THE_INPUT)
    have, want = _outputs(running), _outputs(planned)
    for name in have:
        if name not in want:
            yield f"no more to {name}"
        else:
            yield from _changed(f"to {name}: ", have[name], want[name], _OF_AN_OUTPUT)
    for name in want:
        if name not in have:
            yield f"also to {name}"
    if [*have] != [*want] and have.keys() == want.keys():
        yield "the same outputs in another order"


def _outputs(rule: Part) -> dict[str, Part]:
    return {f"{one['interface']}  {one['destination']}:{one['port']}": one for one in rule["outputs"]}


def _changed(where: str, running: Part, planned: Part, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        if running[key] != planned[key]:
            yield f"{where}{key.replace('_', ' ')}: {_shown(running[key])} -> {_shown(planned[key])}"


def _shown(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(map(str, value)) or "any"
        case None | "":
            return "none"
        case _:
            return str(value)
