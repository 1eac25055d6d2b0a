"""Rules and interfaces of the snapshot (description.py), with their states and counters for the documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcrelay.model.addresses import format_endpoint, number_to_address
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import Drop, Scope, drops_of
from mcrelay.model.rule_status import RuleState, join_reasons
from mcrelay.model.send_errors import SEND_ERROR_NAMES
from mcrelay.protocol.jsonrpc import Json, encode_json
from mcrelay.status.near_misses import Place, Target, hint, near_misses
from mcrelay.status.output_errors import Age, OutputError, describe_errors, last_error
from mcrelay.status.rates import Rates, Reading
from mcrelay.status.template import HOLE, Template

Fields = Mapping[str, Json]

_LINK_DROPS, _RULE_DROPS, _OUTPUT_DROPS = LINKS.drop_columns, RULES.drop_columns, OUTPUTS.drop_columns
_ANSWERS = OUTPUTS.column("answers")
_LAST_TIME, _LAST_SOURCE = RULES.column("last_time"), RULES.column("last_source")
# The drops of an output are counts, and after them an object with the send errors by their names.
*_OUTPUT_REASONS, _ = drops_of(Scope.OUTPUT)
_ERRORS = slice(OUTPUTS.column(SEND_ERROR_NAMES[0]), _OUTPUT_DROPS.stop)
_COUNTED = slice(_OUTPUT_DROPS.start, _ERRORS.start)

_TRAFFIC = dict.fromkeys(("packets", "octets", "packets_per_second", "bits_per_second"), HOLE)
_OUTPUT_DROP_HOLES = dict.fromkeys((*_OUTPUT_REASONS, Drop.SEND_ERROR), HOLE)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a counter table; `number` is None if its rule, output or interface has no row.

    `since` is the time at which the rule, output or interface got the row, in monotonic seconds.
    """

    number: int | None
    since: float


End = tuple[str, str, int]
"""Device, destination and port of an input or an output."""


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """A rule, with its templates for `status` and `list`, and the counter rows of its input and outputs."""

    status: Template
    list: Template
    target: Target
    row: Row
    output_rows: tuple[Row, ...]
    sources: frozenset[str]
    """The sources of the input; none for any source."""
    ends: tuple[End, ...]
    """The input, and then the outputs that run."""
    output_labels: tuple[str, ...]
    """How a reason names each output: `plant to 239.2.2.2:6001`."""


@dataclass(frozen=True, slots=True)
class InterfaceEntry:
    """An interface, with a template for `status`, and with its counter row."""

    device: str
    ifindex: int | None
    status: Template
    row: Row


def rule_entry(name: str, rule: Fields, before: RuleEntry | None, now: float) -> RuleEntry:
    """Return the entry of a rule of the snapshot; `before` is its previous entry, or None."""
    row, *output_rows = rule["rows"]
    previous_rows = {row.number: row for row in before.output_rows} if before else {}
    return RuleEntry(
        Template(_rule(name, rule["shown"])),
        Template(_listed_rule(name, rule["shown"])),
        Target(*(rule["shown"]["input"][key] for key in ("device", "destination", "port"))),
        before.row if before and before.row.number == row else Row(row, now),
        tuple(previous_rows.get(number) or Row(number, now) for number in output_rows),
        frozenset(rule["shown"]["input"]["sources"]),
        tuple(map(_end, (rule["shown"]["input"], *filter(_runs, rule["shown"]["outputs"])))),
        tuple(_label_output(output) for output in rule["shown"]["outputs"]),
    )


def _runs(output: Fields) -> bool:
    return bool(output["runs"])


def _end(part: Fields) -> End:
    return part["device"], part["destination"], part["port"]


def _label_output(output: Fields) -> str:
    return f"{output['interface']} to {format_endpoint(output['destination'], output['port'])}"


def _rule(name: str, shown: Fields) -> Json:
    drops = dict.fromkeys(RULES.drops, HOLE)
    return {
        "name": name,
        "state": HOLE,
        "reason": HOLE,
        "hint": HOLE,
        **shown,
        "input": {**shown["input"], **_TRAFFIC, "last_packet": HOLE, "near_misses": HOLE, "drops": drops},
        "outputs": [
            {**output, **_TRAFFIC, "drops": _OUTPUT_DROP_HOLES, "last_error": HOLE, "answers": HOLE}
            for output in shown["outputs"]
        ],
        "dropped": HOLE,
    }


def _listed_rule(name: str, shown: Fields) -> Json:
    place = {key: shown[key] for key in ("file", "line", "description")}
    return {"name": name, "state": HOLE, "reason": HOLE, "hint": HOLE, **place}


def interface_entry(
    name: str, interface: Fields, before: InterfaceEntry | None, now: float
) -> InterfaceEntry:
    """Return the entry of an interface of the snapshot; `before` is its previous entry, or None."""
    shown, number = interface["shown"], interface["row"]
    row = before.row if before and before.row.number == number else Row(number, now)
    drops = dict.fromkeys(LINKS.drops, HOLE)
    status = Template({"name": name, **shown, **_TRAFFIC, "drops": drops})
    return InterfaceEntry(shown["device"], interface["ifindex"], status, row)


def rule_text(
    entry: RuleEntry, state: str, reason: str, reading: Reading, places: Mapping[int, Place], age: Age
) -> str:
    """Return the JSON text of a rule in `status`; `places` has the interface of each ifindex."""
    row = entry.row
    counts = reading.counts(RULES, row.number)
    drops = counts[_RULE_DROPS]
    values: list[object] = [*counts[:2]]
    values += _rates(reading.rates(RULES, row.number, counts, row.since))
    values += (_last_packet(counts, age), encode_json(near_misses(counts, places)))
    values += drops
    dropped = sum(drops)
    errors: list[OutputError | None] = []
    for row in entry.output_rows:
        sent = reading.counts(OUTPUTS, row.number)
        values += sent[:2]
        values += _rates(reading.rates(OUTPUTS, row.number, sent, row.since))
        values += (*sent[_COUNTED], _errors(sent[_ERRORS]))
        error = last_error(sent, age)
        values += (encode_json(error and error.as_json()), sent[_ANSWERS])
        errors.append(error)
        dropped += sum(sent[_OUTPUT_DROPS])
    values.append(dropped)
    reason = _with_errors(entry, state, reason, counts, errors)
    head = (encode_json(state), encode_json(reason), _hint(entry, state, counts, places))
    return entry.status.fill([*head, *values])


def interface_text(entry: InterfaceEntry, reading: Reading) -> str:
    """Return the JSON text of an interface in `status`."""
    row = entry.row
    counts = reading.counts(LINKS, row.number)
    rates = _rates(reading.rates(LINKS, row.number, counts, row.since))
    return entry.status.fill([*counts[:2], *rates, *counts[_LINK_DROPS]])


def listed_rule_text(
    entry: RuleEntry, state: str, reason: str, reading: Reading, places: Mapping[int, Place], age: Age
) -> str:
    """Return the JSON text of a rule in `list`; `places` has the interface of each ifindex."""
    counts = reading.counts(RULES, entry.row.number)
    errors = [last_error(reading.counts(OUTPUTS, row.number), age) for row in entry.output_rows]
    reason = _with_errors(entry, state, reason, counts, errors)
    return entry.list.fill([encode_json(state), encode_json(reason), _hint(entry, state, counts, places)])


def _hint(entry: RuleEntry, state: str, counts: Sequence[int], places: Mapping[int, Place]) -> str:
    return encode_json(hint(entry.target, counts, places) if state == RuleState.ACTIVE else "")


def _with_errors(
    entry: RuleEntry, state: str, reason: str, counts: Sequence[int], errors: Sequence[OutputError | None]
) -> str:
    """Return the reason of a rule, with the current errors of its outputs if the rule is active.

    `counts` are those of the rule, and `errors` has the last error of each output.
    """
    if state != RuleState.ACTIVE or not any(errors):
        return reason
    current = [error if error and error.is_current(counts[_LAST_TIME]) else None for error in errors]
    return join_reasons(reason, *describe_errors(entry.output_labels, current))


def rule_stats(name: str, entry: RuleEntry, state: str, reason: str, reading: Reading, age: Age) -> Json:
    """Return a rule of `stats`, with the counters of its outputs added up."""
    counts = reading.counts(RULES, entry.row.number)
    outputs = [reading.counts(OUTPUTS, row.number) for row in entry.output_rows]
    errors = [last_error(output, age) for output in outputs]
    sent = OUTPUTS.total(outputs)
    packets, bits = reading.rates(RULES, entry.row.number, counts, entry.row.since)
    return {
        "name": name,
        "state": state,
        "reason": _with_errors(entry, state, reason, counts, errors),
        "in": {"packets": counts[0], "octets": counts[1]},
        "out": {"packets": sent[0], "octets": sent[1]},
        "drops": {
            **dict(zip(RULES.drops, counts[_RULE_DROPS], strict=True)),
            **dict(zip(_OUTPUT_REASONS, sent[_COUNTED], strict=True)),
            Drop.SEND_ERROR: sum(sent[_ERRORS]),
        },
        "packets_per_second": packets,
        "bits_per_second": bits,
    }


def interface_stats(name: str, entry: InterfaceEntry, reading: Reading) -> Json:
    """Return an interface of `stats`."""
    counts = reading.counts(LINKS, entry.row.number)
    packets, bits = reading.rates(LINKS, entry.row.number, counts, entry.row.since)
    return {
        "name": name,
        "device": entry.device,
        "packets": counts[0],
        "octets": counts[1],
        "drops": dict(zip(LINKS.drops, counts[_LINK_DROPS], strict=True)),
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
