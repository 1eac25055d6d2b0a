"""The whole status document as text: what `mcrelay status` shows."""

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
    format_number,
    format_quantity,
    format_time,
)
from mcrelay.model.drops import Drop

Part = Mapping[str, Any]  # of the document; schemas/status.schema.json describes it

TEXT_WIDTH = 100  # columns that all but the excerpts of a file keep to
MAX_NAME_WIDTH = (
    20  # a name that is longer has a line of its own, so that the others' figures stay beside them
)
STATE_COLOURS = {
    "active": GREEN, "paused": YELLOW, "unresolved": YELLOW, "failed": RED, "disabled": "",
    "running": GREEN, "starting": YELLOW, "pausing": RED, "ending": YELLOW,
    "up": GREEN, "down": RED, "absent": RED,
    "started": "", "applied": GREEN, "unchanged": "", "rejected": RED,
}  # fmt: skip
MAX_GROUPS = 20  # of an interface's many memberships
ACTIONABLE_DROPS = (Drop.OVERSIZE, Drop.OVERRUN)  # drops of an interface that call for a change on this host

RULE_HEADS = ("RULE", "STATE", "PLANE", "IN/s", "bit/s", "OUT/s", "bit/s", "DROPS", "LAST", "FROM")
INTERFACE_HEADS = ("INTERFACE", "DEVICE", "LINK", "IN/s", "bit/s", "ADDRESSES")
PROCESS_HEADS = ("PROCESS", "PID", "STATE", "CPU", "MEMORY", "RESTARTS", "UP")


def format_status(document: Part, colour: bool) -> Iterator[str]:
    """Yield the lines."""
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
    yield f"{daemon['config']}: generation {number} ({generation['hash'][:12]}) since {accepted}"
    yield from _reload(document["reload"], number, colour)
    if trial := document["trial"]:
        on_trial, until = paint("on trial", YELLOW, colour), format_time(trial["until"])
        yield f"generation {number} is {on_trial} until {until}: keep it with `mcrelay confirm`"


def _reload(reload: Part, generation: int, colour: bool) -> Iterator[str]:
    """Yield how the last reload ended, and where it was rejected everything that is wrong with the file."""
    match reload["outcome"]:
        case "started":
            yield "no reload since the start"
        case "rejected":
            problems = format_count(len(reload["problems"]), "problem")
            outcome = paint("rejected", RED, colour)
            at = format_time(reload["at"])
            yield f"last reload {at}: {outcome}, {problems}; generation {generation} runs on"
            yield from (f"  {line}" for line in reload["lines"])
        case "rolled_back":
            outcome, at = paint("rolled back", RED, colour), format_time(reload["at"])
            yield f"last reload {at}: {outcome}; generation {generation}, not the file, is what was confirmed"
        case outcome:
            yield f"last reload {format_time(reload['at'])}: {outcome}{format_changes(reload['changes'])}"


def format_changes(changes: Part) -> str:
    """Return how many rules a reload has changed: `, 1 added, 3 kept`."""
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
    taken, last = rule["input"], rule["input"]["last_packet"]
    return (
        rule["name"],
        rule["state"],
        rule["data_plane"].removesuffix("space"),
        format_number(taken["packets_per_second"]),
        format_number(taken["bits_per_second"]),
        format_number(sum_rates(rule["outputs"], "packets_per_second")),
        format_number(sum_rates(rule["outputs"], "bits_per_second")),
        format_number(rule["dropped"]),
        format_duration(last["age"]) if last else "never",
        last["source"] if last else "",
    )


def sum_rates(parts: Sequence[Part], key: str) -> float | None:
    """Return the sum over all parts, None where one of them does not know."""
    numbers = [part[key] for part in parts]
    return None if None in numbers else sum(numbers)


def _reason(rule: Part) -> Iterator[str]:
    """Yield why a rule does not run, and where it runs and sends nothing, why it does not relay."""
    yield rule["reason"]
    drops = rule["dropped"] and rule["state"] == "active"
    if drops and not sum_rates(rule["outputs"], "packets_per_second"):
        yield f"{format_drops(_drops(rule))} (`mcrelay status {rule['name']}` says what to do)"


def _drops(rule: Part) -> Counter[str]:
    """Return how many packets were dropped for which reason, whether all outputs missed them or one."""
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
        yield from _table(rows, "<<<>><", 2, interfaces, _joined_and_dropped, colour)


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
    """Return a group that is joined, with the source that it is joined for."""
    return f"{one['group']} from {one['source']}" if one["source"] else str(one["group"])


def format_names(words: Sequence[str], most: int) -> str:
    """Return the first words of many, and how many more there are."""
    more = f" +{len(words) - most:,}" if len(words) > most else ""
    return ", ".join(words[:most]) + more if words else "-"


def _joined_and_dropped(interface: Part) -> Iterator[str]:
    """Yield what is joined, what no rule answers for, and what that means where something can be done."""
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
        yield f"died last: {process['reason']}"


# Tables with what there is to say of a row below it.


def _table(
    rows: Sequence[Sequence[str]],
    layout: str,
    state: int,
    parts: Sequence[Part],
    said: Callable[[Part], Iterable[str]],
    colour: bool,
) -> Iterator[str]:
    """Yield a table, its column `state` in colour, with what is `said` of a part below its row."""
    first = min(MAX_NAME_WIDTH, max(len(row[0]) for row in rows))
    lines = align([("" if len(row[0]) > first else row[0], *row[1:]) for row in rows], layout)
    yield paint(lines[0], BOLD, colour)
    for part, row, line in zip(parts, rows[1:], lines[1:], strict=True):
        if len(row[0]) > first:
            yield row[0]
        yield colour_state(line, row[state]) if colour else line
        for text in filter(None, said(part)):
            yield from wrap(
                text, TEXT_WIDTH, initial_indent=GAP, subsequent_indent=GAP, break_on_hyphens=False
            )


def colour_state(line: str, state: str) -> str:
    """Return the line with the first appearance of its state, after the name, in its colour."""
    before, found, after = line.partition(f"{GAP}{state}")
    return before + GAP + paint(found.strip(), STATE_COLOURS.get(state, ""), True) + after if found else line
