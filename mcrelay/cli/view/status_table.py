"""The whole status document as text, as `mcrelay status` shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from mcrelay.cli.view.table import GAP, align
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

Part = Mapping[str, Any]  # of the document; schemas/status.schema.json describes it

TEXT_WIDTH = 100  # columns of wrapped text
MAX_NAME_WIDTH = (
    20  # a name that is longer has a line of its own, so that the others' figures stay beside them
)
STATE_COLOURS = {
    "active": GREEN, "paused": YELLOW, "unresolved": YELLOW, "failed": RED, "disabled": "",
    "running": GREEN, "starting": YELLOW, "pausing": RED, "ending": YELLOW,
    "up": GREEN, "down": RED, "absent": RED,
    "started": "", "applied": GREEN, "unchanged": "", "rejected": RED,
}  # fmt: skip
MAX_GROUPS = 20  # shown of an interface's memberships
ACTIONABLE_DROPS = (
    Drop.OVERSIZE,
    Drop.OVERRUN,
)  # drops of an interface that a change on this host can prevent

RULE_HEADS = ("RULE", "STATE", "PLANE", "IN/s", "bit/s", "OUT/s", "bit/s", "DROPS", "LAST", "FROM")
INTERFACE_HEADS = ("INTERFACE", "DEVICE", "LINK", "IN/s", "bit/s", "ADDRESSES")
PROCESS_HEADS = ("PROCESS", "PID", "STATE", "CPU", "MEMORY", "RESTARTS", "UP")


def format_status(document: Part, colour: bool) -> Iterator[str]:
    """Yield the lines: heading, rules, interfaces, processes."""
    yield from _heading(document, colour)
    yield ""
    yield from _rules(document["rules"], colour)
    yield ""
    yield from _interfaces(document["interfaces"], colour)
    yield ""
    yield from _processes(document["processes"], colour)


def _heading(document: Part, colour: bool) -> Iterator[str]:
    daemon, generation = document["daemon"], document["generation"]
    yield f"mcrelay {daemon['version']}, process {daemon['pid']}, up {format_duration(daemon['uptime'])}"
    number, accepted = generation["number"], format_time(generation["accepted"])
    yield f"{daemon['config']}: generation {number} ({format_hash(generation['hash'])}) since {accepted}"
    yield from _reload(document["reload"], number, colour)
    if trial := document["trial"]:
        on_trial, until = paint("on trial", YELLOW, colour), format_time(trial["until"])
        yield f"generation {number} is {on_trial} until {until}: `mcrelay confirm` keeps it"


def _reload(reload: Part, generation: int, colour: bool) -> Iterator[str]:
    """Yield the result of the last reload, and all problems if it was rejected."""
    match reload["outcome"]:
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
        case outcome:
            yield f"last reload {format_time(reload['at'])}: {outcome}{format_changes(reload['changes'])}"


def format_changes(changes: Part) -> str:
    """Return how many rules a reload changed: `, 1 added, 3 kept`."""
    numbers = {word: changes.get(f"{word}_count", 0) for word in ("added", "changed", "removed")}
    numbers["kept"] = changes.get("kept", 0)
    return "".join(f", {number:,} {word}" for word, number in numbers.items() if number)


# Rules.


def _rules(rules: Sequence[Part], colour: bool) -> Iterator[str]:
    if not rules:
        yield "no rules"
    else:
        yield f"{format_count(len(rules), 'rule')}: {_states(rules)}"
        yield from _table([RULE_HEADS, *map(_rule, rules)], "<<<>>>>>><", 1, rules, _reason, colour)


def _states(rules: Sequence[Part]) -> str:
    states = Counter(rule["state"] for rule in rules)
    return ", ".join(f"{states[state]:,} {state}" for state in STATE_COLOURS if state in states)


def _rule(rule: Part) -> tuple[str, ...]:
    rule_input, last = rule["input"], rule["input"]["last_packet"]
    return (
        rule["name"],
        rule["state"],
        rule["data_plane"].removesuffix("space"),
        format_number(rule_input["packets_per_second"]),
        format_number(rule_input["bits_per_second"]),
        format_number(sum_rates(rule["outputs"], "packets_per_second")),
        format_number(sum_rates(rule["outputs"], "bits_per_second")),
        format_number(rule["dropped"]),
        format_duration(last["age"]) if last else "never",
        last["source"] if last else "",
    )


def sum_rates(parts: Sequence[Part], key: str) -> float | None:
    """Return the sum of a rate over all parts, None if one of them is unknown."""
    numbers = [part[key] for part in parts]
    return None if None in numbers else sum(numbers)


def _reason(rule: Part) -> Iterator[str]:
    """Yield why a rule does not run; for one that runs but sends nothing, why packets were dropped."""
    yield rule["reason"]
    drops = rule["dropped"] and rule["state"] == "active"
    if drops and not sum_rates(rule["outputs"], "packets_per_second"):
        yield f"{format_drops(_drops(rule))} (`mcrelay status {rule['name']}` explains it)"


def _drops(rule: Part) -> Counter[str]:
    """Return the dropped packets by reason, those of the input and those of single outputs."""
    drops = Counter(rule["input"]["drops"])
    for output in rule["outputs"]:
        drops[Drop.TTL] += output["drops"]["ttl"]
        for error, count in output["drops"]["send_error"].items():
            drops[f"{Drop.SEND_ERROR} {error}"] += count
    return drops


# Interfaces.


def _interfaces(interfaces: Sequence[Part], colour: bool) -> Iterator[str]:
    if interfaces:
        rows = [INTERFACE_HEADS, *map(_interface, interfaces)]
        yield from _table(rows, "<<<>><", 2, interfaces, _memberships_and_drops, colour)


def _interface(interface: Part) -> tuple[str, ...]:
    return (
        interface["name"],
        interface["device"],
        interface["link"],
        format_number(interface["packets_per_second"]),
        format_number(interface["bits_per_second"]),
        format_names(interface["addresses"], 2),
    )


def format_membership(one: Part) -> str:
    """Return a joined group, with its source if the membership has one."""
    return f"{one['group']} from {one['source']}" if one["source"] else str(one["group"])


def format_names(names: Sequence[str], limit: int) -> str:
    """Return the first names, and how many more there are: `a, b +3`; `-` if there are none."""
    more = f" +{len(names) - limit:,}" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "-"


def _memberships_and_drops(interface: Part) -> Iterator[str]:
    """Yield the memberships and drops of an interface, and advice on drops that can be prevented."""
    if joined := [format_membership(one) for one in interface["memberships"]]:
        yield f"member of {format_names(joined, MAX_GROUPS)}"
    yield format_drops(interface["drops"])
    yield from (f"{reason}: {reason.meaning}" for reason in ACTIONABLE_DROPS if interface["drops"][reason])


# Processes.


def _processes(processes: Sequence[Part], colour: bool) -> Iterator[str]:
    rows = [PROCESS_HEADS, *map(_process, processes)]
    yield from _table(rows, "<><>>>>", 2, processes, _last_death, colour)


def _process(process: Part) -> tuple[str, ...]:
    cpu, memory = process["cpu_percent"], process["memory_octets"]
    return (
        process["name"],
        str(process["pid"] or "-"),
        process["state"],
        "-" if cpu is None else f"{cpu:.1f} %",
        "-" if memory is None else format_quantity(memory, "B"),
        f"{process['restarts']:,}",
        format_duration(process["uptime"]),
    )


def _last_death(process: Part) -> Iterator[str]:
    if process["reason"]:
        yield f"last death: {process['reason']}"


# Tables with notes below their rows.


def _table(
    rows: Sequence[Sequence[str]],
    layout: str,
    state: int,
    parts: Sequence[Part],
    notes: Callable[[Part], Iterable[str]],
    colour: bool,
) -> Iterator[str]:
    """Yield a table, column number `state` in colour, with the `notes` on each part below its row."""
    first = min(MAX_NAME_WIDTH, max(len(row[0]) for row in rows))
    lines = align([("" if len(row[0]) > first else row[0], *row[1:]) for row in rows], layout)
    yield paint(lines[0], BOLD, colour)
    for part, row, line in zip(parts, rows[1:], lines[1:], strict=True):
        if len(row[0]) > first:
            yield row[0]
        yield colour_state(line, row[state]) if colour else line
        for text in filter(None, notes(part)):
            yield from wrap(
                text, TEXT_WIDTH, initial_indent=GAP, subsequent_indent=GAP, break_on_hyphens=False
            )


def colour_state(line: str, state: str) -> str:
    """Return the line with its state, found by its first occurrence after the name, in colour."""
    before, found, after = line.partition(f"{GAP}{state}")
    return before + GAP + paint(found.strip(), STATE_COLOURS.get(state, ""), True) + after if found else line
