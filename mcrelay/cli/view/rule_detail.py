"""One rule in depth: what `mcrelay status RULE` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from mcrelay.cli.view.status_table import STATE_COLOURS, TEXT_WIDTH, format_membership, format_names
from mcrelay.cli.view.terminal import BOLD, YELLOW, paint, printable
from mcrelay.cli.view.units import format_count, format_duration, format_number, format_quantity, format_time
from mcrelay.model.drops import SEND_ERROR_MEANINGS, Drop

Part = Mapping[str, Any]  # of the document; schemas/status.schema.json describes it

INDENT = " " * 14
IDLE_ADVICE = {  # for rules that cannot be traced
    "disabled": "To let it run: `enabled: true` in the file, and `mcrelay reload`.",
    "unresolved": "It runs by itself once this host has what it lacks. Or is there a slip in the file?",
    "failed": "It is tried again by itself, and runs once the kernel takes it.",
}


def format_rule(rule: Part, interfaces: Mapping[str, Part], colour: bool) -> Iterator[str]:
    """Yield everything there is to know of a rule; `interfaces` are by their names."""
    name, state = (
        paint(rule["name"], BOLD, colour),
        paint(rule["state"], STATE_COLOURS[rule["state"]], colour),
    )
    yield f"{name}: {state}" + (f": {rule['reason']}" if rule["reason"] else "")
    yield from wrap(
        printable(rule["description"]), TEXT_WIDTH, initial_indent=INDENT, subsequent_indent=INDENT
    )
    yield _entry("file", f"{rule['file']}:{rule['line']}")
    yield _entry("data plane", rule["data_plane"] + _because(rule["data_plane_reason"]))
    yield ""
    yield from _input(rule, colour)
    yield from _interface(rule["input"], interfaces, colour)
    for output in rule["outputs"]:
        yield ""
        yield from _output(output, colour)
    yield ""
    yield from wrap(_advice(rule, interfaces.get(rule["input"]["interface"])), TEXT_WIDTH)


def _entry(word: str, text: str) -> str:
    return f"  {word:<12}{text}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def format_endpoint(end: Part) -> str:
    """Return where an input or an output is: `studio (eth0)  239.1.1.1:5001`."""
    return f"{end['interface']} ({end['device']})  {end['destination']}:{end['port']}"


def _input(rule: Part, colour: bool) -> Iterator[str]:
    taken = rule["input"]
    sources = f" from {', '.join(taken['sources'])}" if taken["sources"] else ""
    yield _entry("input", format_endpoint(taken) + sources)
    yield INDENT + _traffic(taken)
    yield INDENT + _last_packet(taken)
    for reason, count in taken["drops"].items():
        if count:
            yield from _drop(reason, count, Drop(reason).meaning, colour)


def _last_packet(taken: Part) -> str:
    last = taken["last_packet"]
    if last is None:
        return "none has been relayed yet" if any(taken["drops"].values()) else "no packet has come yet"
    age, at = format_duration(last["age"]), format_time(last["time"])
    return f"last packet {age} ago, at {at}, from {last['source']}"


def _traffic(part: Part) -> str:
    counts = f"{format_count(part['packets'], 'packet')}, {format_quantity(part['octets'], 'B')}"
    if part["packets_per_second"] is None:
        return counts
    bits = format_quantity(part["bits_per_second"], "bit/s")
    return f"{counts}; {format_number(part['packets_per_second'])} packets/s, {bits}"


def _interface(taken: Part, interfaces: Mapping[str, Part], colour: bool) -> Iterator[str]:
    """Yield what the input's interface gets besides: there is the packet that this rule misses."""
    interface = interfaces.get(taken["interface"])
    if interface is None:
        return
    joined = [
        format_membership(one) for one in interface["memberships"] if one["group"] == taken["destination"]
    ]
    member = f", member of {format_names(joined, 4)}" if joined else ""
    yield ""
    yield _entry("interface", f"{interface['name']} ({interface['device']}): {interface['link']}{member}")
    yield INDENT + _traffic(interface)
    for reason, count in interface["drops"].items():
        if count:
            yield from _drop(reason, count, Drop(reason).meaning, colour)


def _output(output: Part, colour: bool) -> Iterator[str]:
    idle = "" if output["runs"] else paint("  (does not run)", YELLOW, colour)
    yield _entry("output", format_endpoint(output) + idle)
    yield INDENT + format_header(output)
    yield INDENT + _traffic(output)
    if output["drops"]["ttl"]:
        yield from _drop(Drop.TTL, output["drops"]["ttl"], Drop.TTL.meaning, colour)
    for error, count in output["drops"]["send_error"].items():
        yield from _drop(f"{Drop.SEND_ERROR} {error}", count, SEND_ERROR_MEANINGS[error], colour)


def format_header(output: Part) -> str:
    """Return what an output writes into its datagrams: `from 10.9.2.1:7001, TTL 64, DSCP copy`."""
    source = output["source"] or "the device's address"
    port = f":{output['source_port']}" if output["source_port"] else ""
    return f"from {source}{port}, TTL {output['ttl']}, DSCP {output['dscp']}"


def _drop(reason: str, count: int, meaning: str, colour: bool) -> Iterator[str]:
    """Yield why packets were not relayed, what that means, and what to do."""
    yield INDENT + paint(f"{count:,} not relayed: {reason}", YELLOW, colour)
    yield from wrap(meaning, TEXT_WIDTH, initial_indent=INDENT + "  ", subsequent_indent=INDENT + "  ")


def _advice(rule: Part, interface: Part | None) -> str:
    """Return what to look at next."""
    if rule["state"] in IDLE_ADVICE:
        return IDLE_ADVICE[rule["state"]]
    trace = f"`mcrelay trace {rule['name']}` shows its packets one by one, also those that nearly match."
    if rule["input"]["last_packet"] or rule["state"] != "active" or interface is None or interface["packets"]:
        return trace
    return (
        f"No UDP packet at all has come to {interface['device']}: look at the sender and the cable, and at"
        " the switch, which may snoop IGMP without anybody who queries."
    )
