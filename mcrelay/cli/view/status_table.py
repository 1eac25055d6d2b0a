"""The text that `mcrelay status` prints: tables of the rules, the interfaces and the processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from textwrap import wrap
from typing import Any

from mcrelay.cli.view.problems import format_problem
from mcrelay.cli.view.table import GAP, TEXT_WIDTH, Column, align_columns, make_rows, wrap_note
from mcrelay.cli.view.terminal import BOLD, GREEN, RED, YELLOW, paint
from mcrelay.cli.view.units import (
    format_count,
    format_drops,
    format_duration,
    format_hash,
    format_number,
    format_quantity,
    format_time,
)
from mcrelay.model.drops import Drop

Part = Mapping[str, Any]  # a part of the status document, which schemas/status.schema.json describes

# A longer name has a line of its own, so that the figures of the other rows stay beside their names.
MAX_NAME_WIDTH = 20
STATE_COLOURS = {
    "active": GREEN, "paused": YELLOW, "unresolved": YELLOW, "failed": RED, "disabled": "",
    "running": GREEN, "starting": YELLOW, "pausing": RED, "ending": YELLOW,
    "up": GREEN, "down": RED, "no carrier": RED, "lower layer down": RED, "not present": RED, "absent": RED,
    "dormant": YELLOW, "testing": YELLOW,
    "started": "", "applied": GREEN, "unchanged": "", "rejected": RED,
}  # fmt: skip
MAX_GROUPS = 20  # memberships that are shown for an interface
# The drops of an interface that a change on this host can prevent.
ACTIONABLE_DROPS = (Drop.OVERSIZE, Drop.OVERRUN)


def format_status(document: Part, colour: bool) -> Iterator[str]:
    """Yield the lines of the heading and of the three tables."""
    yield from _format_heading(document, colour)
    yield ""
    yield from _format_rules(document["rules"], colour)
    yield ""
    yield from _format_interfaces(document["interfaces"], colour)
    yield ""
    yield from _format_processes(document["processes"], colour)


def _format_heading(document: Part, colour: bool) -> Iterator[str]:
    daemon, generation = document["daemon"], document["generation"]
    yield f"mcrelay {daemon['version']}, process {daemon['pid']}, up {format_duration(daemon['uptime'])}"
    number, accepted = generation["number"], format_time(generation["accepted"])
    yield f"{daemon['config']}: generation {number} ({format_hash(generation['hash'])}) since {accepted}"
    yield from _format_reload(document["reload"], number, colour)
    yield from (paint(line, YELLOW, colour) for text in daemon["problems"] for line in wrap(text, TEXT_WIDTH))
    yield from _format_files(document, colour)
    if trial := document["trial"]:
        on_trial, until = paint("on trial", YELLOW, colour), format_time(trial["until"])
        yield f"generation {number} is {on_trial} until {until}: `mcrelay confirm` keeps it"


def _format_reload(reload: Part, generation: int, colour: bool) -> Iterator[str]:
    """Yield the result of the last reload, and all problems if it was rejected."""
    match reload["outcome"]:
        case "starting":
            yield f"starting: generation {generation} does not run completely yet"
        case "started":
            yield "no reload since the start"
        case "rejected":
            problems = format_count(len(reload["problems"]), "problem")
            outcome = paint("rejected", RED, colour)
            at = format_time(reload["at"])
            yield f"last reload {at}: {outcome}, {problems}; generation {generation} still runs"
            yield from (f"  {line}" for line in reload["lines"])
        case "rolled_back":
            outcome, at = paint("rolled back", RED, colour), format_time(reload["at"])
            yield f"last reload {at}: {outcome}; the confirmed generation {generation} runs, not the file"
            yield from (f"  {reason}" for reason in [reload.get("reason")] if reason)
        case outcome:
            yield f"last reload {format_time(reload['at'])}: {outcome}{format_changes(reload['changes'])}"


def _format_files(document: Part, colour: bool) -> Iterator[str]:
    """Yield a line about files on disk that do not run, except those that the line above is about."""
    files, outcome = document.get("files", {}), document["reload"]["outcome"]
    match files.get("state"):
        case "differ":
            changes = format_changes(files["changes"]).removeprefix(", ")
            differ = paint("differ", YELLOW, colour)
            yield f"the files {differ} from what runs ({changes}): `mcrelay reload` applies them"
        case "running" if outcome == "rejected":
            yield "the files were restored since: they are the same as what runs"
        case "invalid" if outcome != "rejected" or files["problems"] != document["reload"]["problems"][:20]:
            problem = format_problem(files["problems"][0])
            others = format_count(files["problem_count"], "problem")
            yield f"the files on disk are {paint('invalid', RED, colour)}, {others}: {problem}"
            yield "  a reload or a restart would refuse them; `mcrelay check` prints every problem"


def format_changes(changes: Part) -> str:
    """Return how many rules a reload changed, and the changed settings: `, 1 added, 3 kept, watch: ...`."""
    numbers = {word: changes.get(f"{word}_count", 0) for word in ("added", "changed", "removed")}
    numbers["kept"] = changes.get("kept", 0)
    rules = (f"{number:,} {word}" for word, number in numbers.items() if number)
    return "".join(f", {text}" for text in (*rules, *changes.get("settings", ())))


# Rules.


def _format_rules(rules: Sequence[Part], colour: bool) -> Iterator[str]:
    if not rules:
        yield "no rules"
    else:
        yield f"{format_count(len(rules), 'rule')}: {_count_states(rules)}"
        yield from _format_table(RULE_COLUMNS, rules, "state", _explain_rule, colour)


def _count_states(rules: Sequence[Part]) -> str:
    states = Counter(rule["state"] for rule in rules)
    return ", ".join(f"{states[state]:,} {state}" for state in STATE_COLOURS if state in states)


def _format_last_age(rule: Part) -> str:
    last = rule["input"]["last_packet"]
    return format_duration(last["age"]) if last else "never"


def _format_last_source(rule: Part) -> str:
    last = rule["input"]["last_packet"]
    return str(last["source"]) if last else ""


def sum_rates(parts: Sequence[Part], key: str) -> float | None:
    """Return the sum of a rate over all parts, or None if the rate of a part is unknown."""
    numbers = [part[key] for part in parts]
    return None if None in numbers else sum(numbers)


RULE_COLUMNS = (
    Column("RULE", "<", itemgetter("name")),
    Column("STATE", "<", itemgetter("state")),
    Column("PLANE", "<", lambda rule: rule["data_plane"].removesuffix("space")),
    Column("IN/s", ">", lambda rule: format_number(rule["input"]["packets_per_second"])),
    Column("bit/s", ">", lambda rule: format_number(rule["input"]["bits_per_second"])),
    Column("OUT/s", ">", lambda rule: format_number(sum_rates(rule["outputs"], "packets_per_second"))),
    Column("bit/s", ">", lambda rule: format_number(sum_rates(rule["outputs"], "bits_per_second"))),
    Column("DROPS", ">", lambda rule: format_number(rule["dropped"])),
    Column("LAST", ">", _format_last_age),
    Column("FROM", "<", _format_last_source),
)


def _explain_rule(rule: Part) -> Iterator[str]:
    """Yield the reason for the state of a rule, its hint, and the drops if an active rule sends nothing."""
    yield rule["reason"]
    yield rule["hint"]
    drops = rule["dropped"] and rule["state"] == "active"
    if drops and not sum_rates(rule["outputs"], "packets_per_second"):
        yield f"{format_drops(_sum_drops(rule))} (`mcrelay status {rule['name']}` explains it)"
    if answers := sum(output["answers"] for output in rule["outputs"]):
        yield describe_answers(answers)


def describe_answers(count: int) -> str:
    """Return a hint that answers came back to the ports from which outputs send."""
    answers = "1 answer" if count == 1 else f"{count:,} answers"
    return f"{answers} came back to the relay's port: see `source: preserve` (answers are not relayed yet)"


def _sum_drops(rule: Part) -> Counter[str]:
    """Return the dropped packets of the input and of all outputs, by reason."""
    drops = Counter(rule["input"]["drops"])
    for output in rule["outputs"]:
        counts = dict(output["drops"])
        errors = counts.pop(Drop.SEND_ERROR)
        drops.update(counts)
        drops.update({f"{Drop.SEND_ERROR} {error}": count for error, count in errors.items()})
    return drops


# Interfaces.


def _format_interfaces(interfaces: Sequence[Part], colour: bool) -> Iterator[str]:
    if interfaces:
        yield from _format_table(INTERFACE_COLUMNS, interfaces, "link", _explain_interface, colour)


def format_membership(membership: Part) -> str:
    """Return a joined group, with its source if the membership has a source."""
    group, source = membership["group"], membership["source"]
    return f"{group} from {source}" if source else str(group)


def format_names(names: Sequence[str], limit: int) -> str:
    """Return the first `limit` names and the number of the others, `a, b +3`; `-` if there are no names."""
    more = f" +{len(names) - limit:,}" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "-"


INTERFACE_COLUMNS = (
    Column("INTERFACE", "<", itemgetter("name")),
    Column("DEVICE", "<", itemgetter("device")),
    Column("LINK", "<", itemgetter("link")),
    Column("IN/s", ">", lambda interface: format_number(interface["packets_per_second"])),
    Column("bit/s", ">", lambda interface: format_number(interface["bits_per_second"])),
    Column("ADDRESSES", "<", lambda interface: format_names(interface["addresses"], 2)),
)


def _explain_interface(interface: Part) -> Iterator[str]:
    """Yield the memberships and the drops of an interface, and how to prevent drops."""
    if interface["altnames"]:
        yield f"altname {', '.join(interface['altnames'])}"
    if joined := [*map(format_membership, interface["memberships"])]:
        yield f"member of {format_names(joined, MAX_GROUPS)}"
    yield format_drops(interface["drops"])
    yield from (
        f"{reason}: {reason.explanation}" for reason in ACTIONABLE_DROPS if interface["drops"][reason]
    )


# Processes.


def _format_processes(processes: Sequence[Part], colour: bool) -> Iterator[str]:
    yield from _format_table(PROCESS_COLUMNS, processes, "state", _explain_process, colour)


def _format_cpu(process: Part) -> str:
    return "-" if process["cpu_percent"] is None else f"{process['cpu_percent']:.1f} %"


def _format_memory(process: Part) -> str:
    return "-" if process["memory_octets"] is None else format_quantity(process["memory_octets"], "B")


PROCESS_COLUMNS = (
    Column("PROCESS", "<", itemgetter("name")),
    Column("PID", ">", lambda process: str(process["pid"] or "-")),
    Column("STATE", "<", itemgetter("state")),
    Column("CPU", ">", _format_cpu),
    Column("MEMORY", ">", _format_memory),
    Column("RESTARTS", ">", lambda process: f"{process['restarts']:,}"),
    Column("UP", ">", lambda process: format_duration(process["uptime"])),
)


def _explain_process(process: Part) -> Iterator[str]:
    if process["reason"]:
        yield f"last death: {process['reason']}"


# Tables with notes below their rows.


def _format_table(
    columns: Sequence[Column],
    parts: Sequence[Part],
    state_key: str,
    notes: Callable[[Part], Iterable[str]],
    colour: bool,
) -> Iterator[str]:
    """Yield a row for each part, with `part[state_key]` in colour, and below it the `notes` on the part."""
    rows = make_rows(columns, parts)
    names = [row[0] for row in rows]
    name_width = min(MAX_NAME_WIDTH, max(map(len, names)))
    lines = align_columns(columns, [("" if len(row[0]) > name_width else row[0], *row[1:]) for row in rows])
    yield paint(lines[0], BOLD, colour)
    for part, name, line in zip(parts, names[1:], lines[1:], strict=True):
        if len(name) > name_width:
            yield name
        yield colour_state(line, part[state_key]) if colour else line
        for text in notes(part):
            yield from wrap_note(text)


def colour_state(line: str, state: str) -> str:
    """Return a line of a table with its state in colour. The state is its first occurrence after the name."""
    before, found, after = line.partition(f"{GAP}{state}")
    return before + GAP + paint(found.strip(), STATE_COLOURS.get(state, ""), True) + after if found else line
