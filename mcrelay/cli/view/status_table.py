"""The whole status document as text: what `mcrelay status` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from mcrelay.cli.view.table import GAP, aligned
from mcrelay.cli.view.terminal import BOLD, GREEN, RED, YELLOW, painted
from mcrelay.cli.view.units import counted, moment, not_relayed, short, spaced, span
from mcrelay.model.drops import Drop

Part = Mapping[str, Any]  # of the document; schemas/status.schema.json describes it

WIDTH = 100  # columns that all but the excerpts of a file keep to
NAME = 20  # a name that is longer has a line of its own, so that the others' figures stay beside them
ACCENTS = {
    "active": GREEN, "paused": YELLOW, "unresolved": YELLOW, "failed": RED, "disabled": "",
    "running": GREEN, "starting": YELLOW, "pausing": RED, "ending": YELLOW,
    "up": GREEN, "down": RED, "absent": RED,
    "started": "", "applied": GREEN, "unchanged": "", "rejected": RED,
}  # fmt: skip
GROUPS = 20  # of an interface's many memberships
ACTED_ON = (Drop.OVERSIZE, Drop.OVERRUN)  # drops of an interface that call for a change on this host

RULE_HEADS = ("RULE", "STATE", "PLANE", "IN/s", "bit/s", "OUT/s", "bit/s", "DROPS", "LAST", "FROM")
INTERFACE_HEADS = ("INTERFACE", "DEVICE", "LINK", "IN/s", "bit/s", "ADDRESSES")
PROCESS_HEADS = ("PROCESS", "PID", "STATE", "CPU", "MEMORY", "RESTARTS", "UP")


def overview(document: Part, colour: bool) -> Iterator[str]:
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
    yield f"mcrelay {daemon['version']}, process {daemon['pid']}, up {span(daemon['uptime'])}"
    number, accepted = generation["number"], moment(generation["accepted"])
    yield f"{daemon['config']}: generation {number} ({generation['hash'][:12]}) since {accepted}"
    yield from _reload(document["reload"], number, colour)
    if trial := document["trial"]:
        on_trial, until = painted("on trial", YELLOW, colour), moment(trial["until"])
        yield f"generation {number} is {on_trial} until {until}: keep it with `mcrelay confirm`"


def _reload(reload: Part, generation: int, colour: bool) -> Iterator[str]:
    """Yield how the last reload ended, and where it was rejected everything that is wrong with the file."""
    match reload["outcome"]:
        case "started":
            yield "no reload since the start"
        case "rejected":
            problems = counted(len(reload["problems"]), "problem")
            outcome = painted("rejected", RED, colour)
            at = moment(reload["at"])
            yield f"last reload {at}: {outcome}, {problems}; generation {generation} runs on"
            yield from (f"  {line}" for line in reload["lines"])
        case "rolled_back":
            outcome, at = painted("rolled back", RED, colour), moment(reload["at"])
            yield f"last reload {at}: {outcome}; generation {generation}, not the file, is what was confirmed"
        case outcome:
            yield f"last reload {moment(reload['at'])}: {outcome}{changed(reload['changes'])}"


def changed(changes: Part) -> str:
    """Return how many rules a reload has changed: `, 1 added, 3 kept`."""
    numbers = {word: changes.get(f"{word}_count", 0) for word in ("added", "changed", "removed")}
    numbers["kept"] = changes.get("kept", 0)
    return "".join(f", {number:,} {word}" for word, number in numbers.items() if number)


# Rules.


def _rules(rules: Sequence[Part], colour: bool) -> Iterator[str]:
    if not rules:
        yield "no rules"
    else:
        yield f"{counted(len(rules), 'rule')}: {_states(rules)}"
        yield from _tabled([RULE_HEADS, *map(_rule, rules)], "<<<>>>>>><", 1, rules, _reason, colour)


def _states(rules: Sequence[Part]) -> str:
    states = Counter(rule["state"] for rule in rules)
    return ", ".join(f"{states[state]:,} {state}" for state in ACCENTS if state in states)


def _rule(rule: Part) -> tuple[str, ...]:
    taken, last = rule["input"], rule["input"]["last_packet"]
    return (
        rule["name"],
        rule["state"],
        rule["data_plane"].removesuffix("space"),
        short(taken["packets_per_second"]),
        short(taken["bits_per_second"]),
        short(total(rule["outputs"], "packets_per_second")),
        short(total(rule["outputs"], "bits_per_second")),
        short(rule["dropped"]),
        span(last["age"]) if last else "never",
        last["source"] if last else "",
    )


def total(parts: Sequence[Part], key: str) -> float | None:
    """Return the sum over all parts, None where one of them does not know."""
    numbers = [part[key] for part in parts]
    return None if None in numbers else sum(numbers)


def _reason(rule: Part) -> Iterator[str]:
    """Yield why a rule does not run, and where it runs and sends nothing, why it does not relay."""
    yield rule["reason"]
    drops = rule["dropped"] and rule["state"] == "active"
    if drops and not total(rule["outputs"], "packets_per_second"):
        yield f"{not_relayed(_drops(rule))} (`mcrelay status {rule['name']}` says what to do)"


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
        yield from _tabled(rows, "<<<>><", 2, interfaces, _joined_and_dropped, colour)


def _interface(interface: Part) -> tuple[str, ...]:
    return (
        interface["name"],
        interface["device"],
        interface["link"],
        short(interface["packets_per_second"]),
        short(interface["bits_per_second"]),
        few(interface["addresses"], 2),
    )


def membership(one: Part) -> str:
    """Return a group that is joined, with the source that it is joined for."""
    return f"{one['group']} from {one['source']}" if one["source"] else str(one["group"])


def few(words: Sequence[str], most: int) -> str:
    """Return the first words of many, and how many more there are."""
    more = f" +{len(words) - most:,}" if len(words) > most else ""
    return ", ".join(words[:most]) + more if words else "-"


def _joined_and_dropped(interface: Part) -> Iterator[str]:
    """Yield what is joined, what no rule answers for, and what that means where something can be done."""
    if joined := [membership(one) for one in interface["memberships"]]:
        yield f"member of {few(joined, GROUPS)}"
    yield not_relayed(interface["drops"])
    yield from (f"{reason}: {reason.meaning}" for reason in ACTED_ON if interface["drops"][reason])


# Processes.


def _processes(processes: Sequence[Part], colour: bool) -> Iterator[str]:
    rows = [PROCESS_HEADS, *map(_process, processes)]
    yield from _tabled(rows, "<><>>>>", 2, processes, _death, colour)


def _process(process: Part) -> tuple[str, ...]:
    cpu, memory = process["cpu_percent"], process["memory_octets"]
    return (
        process["name"],
        str(process["pid"] or "-"),
        process["state"],
        "-" if cpu is None else f"{cpu:.1f} %",
        "-" if memory is None else spaced(memory, "B"),
        f"{process['restarts']:,}",
        span(process["uptime"]),
    )


def _death(process: Part) -> Iterator[str]:
    if process["reason"]:
        yield f"died last: {process['reason']}"


# Tables with what there is to say of a row below it.


def _tabled(
    rows: Sequence[Sequence[str]],
    layout: str,
    state: int,
    parts: Sequence[Part],
    said: Callable[[Part], Iterable[str]],
    colour: bool,
) -> Iterator[str]:
    """Yield a table, its column `state` in colour, with what is `said` of a part below its row."""
    first = min(NAME, max(len(row[0]) for row in rows))
    lines = aligned([("" if len(row[0]) > first else row[0], *row[1:]) for row in rows], layout)
    yield painted(lines[0], BOLD, colour)
    for part, row, line in zip(parts, rows[1:], lines[1:], strict=True):
        if len(row[0]) > first:
            yield row[0]
        yield coloured(line, row[state]) if colour else line
        for text in filter(None, said(part)):
            yield from wrap(text, WIDTH, initial_indent=GAP, subsequent_indent=GAP, break_on_hyphens=False)


def coloured(line: str, state: str) -> str:
    """Return the line with the first appearance of its state, after the name, in its colour."""
    before, found, after = line.partition(f"{GAP}{state}")
    return before + GAP + painted(found.strip(), ACCENTS.get(state, ""), True) + after if found else line
