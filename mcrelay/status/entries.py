"""Rules and interfaces as the picture has them, made ready to be shown with their counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mcrelay.model.addresses import number_to_address
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import SEND_ERROR_NAMES, Drop
from mcrelay.protocol.jsonrpc import Json, encode_json
from mcrelay.status.rates import Rates, Reading
from mcrelay.status.template import HOLE, Template

Fields = Mapping[str, Json]
Age = Callable[[float], float]
"""The age of a time of day, both in seconds."""

_LINK_DROPS = slice(LINKS.column("no_rule"), LINKS.column("overrun") + 1)
_RULE_DROPS = slice(RULES.column("fragment"), RULES.column("own") + 1)
_LAST_TIME, _LAST_SOURCE = RULES.column("last_time"), RULES.column("last_source")
_TTL = OUTPUTS.column("ttl")
_ERRORS = slice(OUTPUTS.column(SEND_ERROR_NAMES[0]), OUTPUTS.column(SEND_ERROR_NAMES[-1]) + 1)
_OUTPUT_DROPS = slice(_TTL, _ERRORS.stop)

_TRAFFIC = dict.fromkeys(("packets", "octets", "packets_per_second", "bits_per_second"), HOLE)


@dataclass(frozen=True, slots=True)
class OutputEntry:
    """An output's row, and since when it is this output's."""

    row: int | None
    since: float


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """A rule: its text with holes, its rows, and since when they are its own (monotonic seconds)."""

    file: str
    line: int
    description: str
    template: Template
    row: int | None
    since: float
    outputs: tuple[OutputEntry, ...]


@dataclass(frozen=True, slots=True)
class InterfaceEntry:
    """An interface: its text with holes, its row, and since when it is its own."""

    device: str
    ifindex: int | None
    template: Template
    row: int | None
    since: float


def rule_entry(name: str, rule: Fields, before: RuleEntry | None, now: float) -> RuleEntry:
    """Return the entry of a rule that was `before`, if it was."""
    known = {output.row: output.since for output in before.outputs} if before else {}
    since = before.since if before and before.row == rule["row"] else now
    outputs = tuple(OutputEntry(one["row"], known.get(one["row"], now)) for one in rule["outputs"])
    place = rule["file"], rule["line"], rule["description"]
    return RuleEntry(*place, Template(_rule(name, rule)), rule["row"], since, outputs)


def _rule(name: str, rule: Fields) -> Json:
    return {
        "name": name,
        "state": HOLE,
        "reason": HOLE,
        "description": rule["description"],
        "enabled": rule["enabled"],
        "data_plane": rule["data_plane"],
        "data_plane_reason": rule.get("data_plane_reason", ""),
        "file": rule["file"],
        "line": rule["line"],
        "input": {
            **rule["input"],
            **_TRAFFIC,
            "last_packet": HOLE,
            "drops": dict.fromkeys(RULES.columns[_RULE_DROPS], HOLE),
        },
        "outputs": [_output(output) for output in rule["outputs"]],
        "dropped": HOLE,
    }


def _output(output: Fields) -> Json:
    shown = {key: value for key, value in output.items() if key != "row"}
    return {**shown, **_TRAFFIC, "drops": {Drop.TTL: HOLE, Drop.SEND_ERROR: HOLE}}


def interface_entry(
    name: str, interface: Fields, before: InterfaceEntry | None, now: float
) -> InterfaceEntry:
    """Return the entry of an interface that was `before`, if it was."""
    since = before.since if before and before.row == interface["row"] else now
    template = Template(_interface(name, interface))
    return InterfaceEntry(interface["device"], interface["ifindex"], template, interface["row"], since)


def _interface(name: str, interface: Fields) -> Json:
    names = ("device", "link", "mtu", "addresses", "memberships")
    shown = {key: interface[key] for key in names}
    return {"name": name, **shown, **_TRAFFIC, "drops": dict.fromkeys(LINKS.columns[_LINK_DROPS], HOLE)}


def rule_text(entry: RuleEntry, verdict: Sequence[str], reading: Reading, age: Age) -> str:
    """Return the rule as the status document has it."""
    counts = reading.counts(RULES, entry.row)
    drops = counts[_RULE_DROPS]
    values: list[object] = [encode_json(verdict[0]), encode_json(verdict[1])]
    values += counts[:2]
    values += _rates(reading.rates(RULES, entry.row, counts, entry.since))
    values.append(_last_packet(counts, age))
    values += drops
    dropped = sum(drops)
    for output in entry.outputs:
        sent = reading.counts(OUTPUTS, output.row)
        values += sent[:2]
        values += _rates(reading.rates(OUTPUTS, output.row, sent, output.since))
        values += (sent[_TTL], _errors(sent[_ERRORS]))
        dropped += sum(sent[_OUTPUT_DROPS])
    values.append(dropped)
    return entry.template.fill(values)


def interface_text(entry: InterfaceEntry, reading: Reading) -> str:
    """Return the interface as the status document has it."""
    counts = reading.counts(LINKS, entry.row)
    rates = _rates(reading.rates(LINKS, entry.row, counts, entry.since))
    return entry.template.fill([*counts[:2], *rates, *counts[_LINK_DROPS]])


def rule_stats(name: str, entry: RuleEntry, reading: Reading) -> Json:
    """Return the rule as the statistics have it: its outputs added up."""
    counts = reading.counts(RULES, entry.row)
    sent = OUTPUTS.total([reading.counts(OUTPUTS, output.row) for output in entry.outputs])
    packets, bits = reading.rates(RULES, entry.row, counts, entry.since)
    return {
        "name": name,
        "in": {"packets": counts[0], "octets": counts[1]},
        "out": {"packets": sent[0], "octets": sent[1]},
        "drops": {
            **dict(zip(RULES.columns[_RULE_DROPS], counts[_RULE_DROPS], strict=True)),
            Drop.TTL: sent[_TTL],
            Drop.SEND_ERROR: sum(sent[_ERRORS]),
        },
        "packets_per_second": packets,
        "bits_per_second": bits,
    }


def interface_stats(name: str, entry: InterfaceEntry, reading: Reading) -> Json:
    """Return the interface as the statistics have it."""
    counts = reading.counts(LINKS, entry.row)
    packets, bits = reading.rates(LINKS, entry.row, counts, entry.since)
    return {
        "name": name,
        "device": entry.device,
        "packets": counts[0],
        "octets": counts[1],
        "drops": dict(zip(LINKS.columns[_LINK_DROPS], counts[_LINK_DROPS], strict=True)),
        "packets_per_second": packets,
        "bits_per_second": bits,
    }


def _rates(rates: Rates) -> tuple[object, object]:
    packets, bits = rates
    return ("null", "null") if packets is None else (packets, bits)


def _last_packet(counts: Sequence[int], age: Age) -> str:
    if not counts[_LAST_TIME]:
        return "null"
    last, source = counts[_LAST_TIME] / 1e9, counts[_LAST_SOURCE]
    address = number_to_address(source)
    return f'{{"time":{last},"age":{round(age(last), 3)},"source":"{address}"}}'


def _errors(counts: Sequence[int]) -> str:
    if not any(counts):
        return "{}"
    return encode_json({name: count for name, count in zip(SEND_ERROR_NAMES, counts, strict=True) if count})
