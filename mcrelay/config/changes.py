"""The differences between two configurations: their rules, and the settings of the whole file.

The result of a reload, the history, the log, `mcrelay plan` and `mcrelay diff` all use this comparison. A
rule is changed if its packets are relayed differently, or if `mcrelay status` shows it differently. For
example, another device of an interface changes the rules that use the interface. Another TTL of an interface
does not change a rule whose outputs have their own TTL. The data plane is the one that
the file asks for, which need not be the one that relays the rule at present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mcrelay.config.durations import format_duration
from mcrelay.config.model import Config, Output, Rule
from mcrelay.model.outputs import Dscp, Ttl, output_name

if TYPE_CHECKING:  # the import takes longer than the rest of `mcrelay status`
    from mcrelay.model.state import Route

MAX_NAMES = 100  # of each kind of change, in JSON

RouteOf = Callable[[Config, Rule], "Route | None"]
"""Returns the route of a rule of a config on a certain host, or None if the rule does not run there."""


@dataclass(frozen=True, slots=True)
class OutputFields:
    """The compared fields of an output. If `source` or `source_port` is None, the relay chooses it."""

    interface: str
    device: str
    destination: str
    port: int
    source: str | None
    source_port: int | None
    ttl: Ttl
    dscp: Dscp
    loopback: bool

    @property
    def name(self) -> str:
        """The name of this output in its rule."""
        return output_name(self.interface, self.destination, self.port)


@dataclass(frozen=True, slots=True)
class RuleFields:
    """The compared fields of a rule."""

    description: str
    enabled: bool
    wanted_data_plane: str
    exclusive: bool
    interface: str
    device: str
    destination: str
    port: int
    sources: tuple[str, ...]
    loopback: bool
    outputs: tuple[OutputFields, ...]


INPUT_FIELDS = ("interface", "device", "destination", "port", "sources", "loopback")
OUTPUT_FIELDS = tuple(output_field.name for output_field in fields(OutputFields))
RULE_FIELDS = ("description", "enabled", "wanted_data_plane", "exclusive")
_WORDS = {"wanted_data_plane": "data plane"}  # in texts, where they differ from the name of the field
_OF_AN_OUTPUT = ("device", "source", "source_port", "ttl", "dscp", "loopback")


@dataclass(frozen=True, slots=True)
class Changes:
    """The differences between two configurations: names of rules, and texts about settings.

    `changed` maps the name of a rule to a text for each difference.
    """

    added: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = f"{len(self.added)} added, {len(self.changed)} changed, {len(self.removed)} removed"
        return "; ".join((f"{counts}, {len(self.kept)} kept", *self.settings))

    def as_json(self) -> dict[str, Any]:
        """Return the number of rules of each kind and, except for `kept`, the first `MAX_NAMES` names.

        `settings` has a text for each changed setting.
        """
        names = {"added": self.added, "changed": tuple(self.changed), "removed": self.removed}
        return {
            **{kind: list(rules[:MAX_NAMES]) for kind, rules in names.items()},
            **{f"{kind}_count": len(rules) for kind, rules in names.items()},
            "kept": len(self.kept),
            "settings": list(self.settings),
        }


def compare_configs(before: Config | None, after: Config, route_of: RouteOf) -> Changes:
    """Return the changes from `before` to `after`. If `before` is None, all rules are added."""
    if before is None:
        return Changes(added=tuple(after.rules))
    devices = before.devices, after.devices
    is_same_device = {name: device == devices[1].get(name) for name, device in devices[0].items()}

    def differences(old: Rule, new: Rule) -> tuple[str, ...]:
        # Most rules of a reload are unchanged, and it is faster to compare whole rules than single fields.
        if old == new and all(is_same_device[name] for name in old.interfaces):
            return ()
        return find_differences(
            fields_of(old, devices[0], route_of(before, old)),
            fields_of(new, devices[1], route_of(after, new)),
        )

    changes = _compare_by_name(before.rules, after.rules, differences)
    return replace(changes, settings=compare_settings(settings_of(before), settings_of(after)))


def settings_of(config: Config) -> dict[str, str]:
    """Return the settings of the whole file, with their values in the words of the file."""
    return {
        "data_plane": config.data_plane,
        "workers": str(config.workers),
        "watch": _text(config.watch),
        "max_age": format_duration(config.max_age),
    }


def compare_settings(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return a text for each changed setting, such as `max_age: 1s -> 2s`.

    A setting that one of them lacks is not compared: a daemon of an earlier version reports none.
    """
    common = [name for name in after if name in before]
    return tuple(f"{name}: {before[name]} -> {after[name]}" for name in common if before[name] != after[name])


def compare_rules(before: Mapping[str, RuleFields], after: Mapping[str, RuleFields]) -> Changes:
    """Return the changes between two maps from the names of rules to their fields."""
    return _compare_by_name(before, after, find_differences)


def find_differences(before: RuleFields, after: RuleFields) -> tuple[str, ...]:
    """Return a text for each difference between two rules, such as `input port: 5000 -> 5001`."""
    return (
        *_changed_fields("", before, after, RULE_FIELDS),
        *_changed_fields("input ", before, after, INPUT_FIELDS),
        *_changed_outputs(before.outputs, after.outputs),
    )


_Rule = TypeVar("_Rule")


def _compare_by_name(
    before: Mapping[str, _Rule],
    after: Mapping[str, _Rule],
    differences: Callable[[_Rule, _Rule], tuple[str, ...]],
) -> Changes:
    found = {name: differences(before[name], after[name]) for name in after if name in before}
    return Changes(
        added=tuple(name for name in after if name not in before),
        changed={name: texts for name, texts in found.items() if texts},
        removed=tuple(name for name in before if name not in after),
        kept=tuple(name for name, texts in found.items() if not texts),
    )


def fields_of(rule: Rule, devices: Mapping[str, str], route: Route | None) -> RuleFields:
    """Return the fields of a rule. `devices` maps interfaces to devices; `route` is what runs of the rule."""
    sources = {output.name: output.source for output in route.outputs} if route else {}
    rule_input = rule.input
    return RuleFields(
        description=rule.description,
        enabled=rule.enabled,
        wanted_data_plane=rule.wanted_data_plane,
        exclusive=rule.exclusive,
        interface=rule_input.interface,
        device=devices[rule_input.interface],
        destination=rule_input.destination,
        port=rule_input.port,
        sources=rule_input.sources,
        loopback=rule_input.loopback,
        outputs=tuple(_output_fields(output, devices[output.interface], sources) for output in rule.outputs),
    )


def _output_fields(output: Output, device: str, sources: Mapping[str, str | None]) -> OutputFields:
    return OutputFields(
        interface=output.interface,
        device=device,
        destination=output.destination,
        port=output.port,
        source=sources.get(output.name) or output.source,
        source_port=output.source_port or None,
        ttl=output.ttl,
        dscp=output.dscp,
        loopback=output.loopback,
    )


def _changed_outputs(before: Sequence[OutputFields], after: Sequence[OutputFields]) -> Iterator[str]:
    old, new = ({output.name: output for output in outputs} for outputs in (before, after))
    for name in old:
        if name not in new:
            yield f"output {name}: removed"
        else:
            yield from _changed_fields(f"output {name}: ", old[name], new[name], _OF_AN_OUTPUT)
    for name in new:
        if name not in old:
            yield f"output {name}: added"
    if [*old] != [*new] and old.keys() == new.keys():
        yield "outputs: another order"


def _changed_fields(prefix: str, before: object, after: object, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        old, new = getattr(before, key), getattr(after, key)
        if _comparable(old) != _comparable(new):
            yield f"{prefix}{_WORDS.get(key) or key.replace('_', ' ')}: {_text(old)} -> {_text(new)}"


def _comparable(value: object) -> object:
    """Return a field in a form to compare. The order of sources does not matter."""
    return frozenset(value) if isinstance(value, tuple) else value


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return ", ".join(value) or "any"
        case None | "":
            return "none"
        case _:
            return str(value)
