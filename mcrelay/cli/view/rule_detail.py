"""The text that `mcrelay status RULE` prints: one rule in detail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from mcrelay.cli.view.status_table import (
    STATE_COLOURS,
    describe_answers,
    format_membership,
    format_names,
)
from mcrelay.cli.view.table import TEXT_WIDTH
from mcrelay.cli.view.terminal import BOLD, YELLOW, paint, to_one_line
from mcrelay.cli.view.units import format_count, format_duration, format_number, format_quantity, format_time
from mcrelay.model.addresses import LOOPBACK_DEVICE, is_group
from mcrelay.model.drops import Drop
from mcrelay.model.send_errors import SEND_ERROR_EXPLANATIONS

Part = Mapping[str, Any]  # a part of the status document, which schemas/status.schema.json describes

INDENT = " " * 14
IDLE_ADVICE = {  # by state, for rules that do not run
    "disabled": (
        "`mcrelay enable {name}` enables it if it has its own drop-in file."
        " Otherwise write `enabled: true` in the file, and run `mcrelay reload`."
    ),
    "unresolved": "It starts as soon as the host has what is missing. Or correct the file.",
    "failed": "If the file is the reason, correct it. What the kernel refuses, mcrelay tries periodically.",
}


def format_rule(rule: Part, interfaces: Mapping[str, Part], colour: bool) -> Iterator[str]:
    """Yield the lines about a rule. `interfaces` are those of the status document, by name."""
    name, state = (
        paint(rule["name"], BOLD, colour),
        paint(rule["state"], STATE_COLOURS[rule["state"]], colour),
    )
    yield f"{name}: {state}" + (f": {rule['reason']}" if rule["reason"] else "")
    yield from wrap(
        to_one_line(rule["description"]), TEXT_WIDTH, initial_indent=INDENT, subsequent_indent=INDENT
    )
    yield _format_entry("file", f"{rule['file']}:{rule['line']}")
    yield _format_entry("data plane", rule["data_plane"] + _format_reason(rule["data_plane_reason"]))
    yield ""
    yield from _format_input(rule, colour)
    yield from _format_interface(rule["input"], interfaces, colour)
    for output in rule["outputs"]:
        yield ""
        yield from _format_output(output, colour)
    yield ""
    if rule["hint"]:
        yield from wrap(f"{rule['hint'][0].upper()}{rule['hint'][1:]}.", TEXT_WIDTH)
    yield from wrap(_advise(rule, interfaces.get(rule["input"]["interface"])), TEXT_WIDTH)
    for hint in _find_loopback_hints(rule):
        yield from wrap(hint, TEXT_WIDTH)


def _format_entry(word: str, text: str) -> str:
    return f"  {word:<12}{text}"


def _format_reason(reason: str) -> str:
    return f" ({reason})" if reason else ""


def format_endpoint(end: Part) -> str:
    """Return interface, device, address and port of an input or output: `studio (eth0)  239.1.1.1:5001`."""
    return f"{end['interface']} ({end['device']})  {end['destination']}:{end['port']}"


def format_accepted(rule_input: Part) -> str:
    """Return what an input accepts: `studio (eth0)  239.1.1.1:5001 from 10.0.0.5, also from this host`."""
    sources = f" from {', '.join(rule_input['sources'])}" if rule_input["sources"] else ""
    return format_endpoint(rule_input) + sources + (", also from this host" if rule_input["loopback"] else "")


def _format_input(rule: Part, colour: bool) -> Iterator[str]:
    rule_input = rule["input"]
    yield _format_entry("input", format_accepted(rule_input))
    yield INDENT + _format_traffic(rule_input)
    yield INDENT + _format_last_packet(rule_input)
    yield from _format_drops(rule_input["drops"], colour)


def _format_last_packet(rule_input: Part) -> str:
    last = rule_input["last_packet"]
    if last is None:
        return (
            "no packet has been relayed yet"
            if any(rule_input["drops"].values())
            else "no packet has arrived yet"
        )
    age, at = format_duration(last["age"]), format_time(last["time"])
    return f"last packet {age} ago, at {at}, from {last['source']}"


def _format_traffic(part: Part) -> str:
    counts = f"{format_count(part['packets'], 'packet')}, {format_quantity(part['octets'], 'B')}"
    if part["packets_per_second"] is None:
        return counts
    bits = format_quantity(part["bits_per_second"], "bit/s")
    return f"{counts}; {format_number(part['packets_per_second'])} packets/s, {bits}"


def _format_interface(rule_input: Part, interfaces: Mapping[str, Part], colour: bool) -> Iterator[str]:
    """Yield the counts of the input's interface, which include packets that match no rule."""
    interface = interfaces.get(rule_input["interface"])
    if interface is None:
        return
    joined = [
        format_membership(membership)
        for membership in interface["memberships"]
        if membership["group"] == rule_input["destination"]
    ]
    member = f", member of {format_names(joined, 4)}" if joined else ""
    yield ""
    yield _format_entry(
        "interface", f"{interface['name']} ({interface['device']}): {interface['link']}{member}"
    )
    yield INDENT + _format_traffic(interface)
    yield from _format_drops(interface["drops"], colour)


def _format_output(output: Part, colour: bool) -> Iterator[str]:
    idle = "" if output["runs"] else paint("  (does not run)", YELLOW, colour)
    yield _format_entry("output", format_endpoint(output) + idle)
    yield INDENT + format_header(output)
    yield INDENT + _format_traffic(output)
    yield from _format_drops(
        {reason: n for reason, n in output["drops"].items() if reason != Drop.SEND_ERROR}, colour
    )
    for error, count in output["drops"][Drop.SEND_ERROR].items():
        yield from _format_drop(f"{Drop.SEND_ERROR} {error}", count, SEND_ERROR_EXPLANATIONS[error], colour)
    if last := output["last_error"]:
        age, at = format_duration(last["age"]), format_time(last["time"])
        yield f"{INDENT}last send error {age} ago, at {at}: {last['name']}"
    if output["answers"]:
        yield INDENT + paint(describe_answers(output["answers"]), YELLOW, colour)


def format_header(output: Part) -> str:
    """Return the header fields that an output writes: `from 10.9.2.1:7001, TTL 64, DSCP copy`."""
    chosen = "the device's address" if is_group(output["destination"]) else "the address that a route chooses"
    source = output["source"] or chosen
    port = f":{output['source_port']}" if output["source_port"] else ""
    heard = ", also heard on this host" if output["loopback"] else ""
    return f"from {source}{port}, TTL {output['ttl']}, DSCP {output['dscp']}{heard}"


def _format_drops(counts: Mapping[str, int], colour: bool) -> Iterator[str]:
    """Yield the lines of each drop reason that has a count above 0."""
    for reason in Drop:
        if count := counts.get(reason):
            yield from _format_drop(reason, count, reason.explanation, colour)


def _format_drop(reason: str, count: int, explanation: str, colour: bool) -> Iterator[str]:
    """Yield the lines of a drop reason: the count and the name, then the explanation."""
    yield INDENT + paint(f"{count:,} not relayed: {reason}", YELLOW, colour)
    yield from wrap(explanation, TEXT_WIDTH, initial_indent=INDENT + "  ", subsequent_indent=INDENT + "  ")


def _find_loopback_hints(rule: Part) -> Iterator[str]:
    """Yield what programs on the relay's own host do not hear, and what of them is not taken."""
    if rule["state"] != "active":
        return
    rule_input = rule["input"]
    if _may_loop(rule_input) and not rule_input["last_packet"] and not rule_input["drops"].get(Drop.OWN):
        device = rule_input["device"]
        yield f"What this host sends through {device} is taken only with `loopback: true` of the input."
    if any(output["runs"] and _may_loop(output) for output in rule["outputs"]):
        yield "Programs on this host hear what is sent to a group only with `loopback: true` of the output."


def _may_loop(end: Part) -> bool:
    """Return whether an input or output could have `loopback` and does not have it."""
    return not end["loopback"] and end["device"] != LOOPBACK_DEVICE and is_group(end["destination"])


def _advise(rule: Part, interface: Part | None) -> str:
    """Return advice: what to check or do next."""
    if rule["state"] in IDLE_ADVICE:
        return IDLE_ADVICE[rule["state"]].format(name=rule["name"])
    trace = f"`mcrelay trace {rule['name']}` shows its packets one by one, also those that nearly match."
    if rule["hint"]:
        return trace
    rule_input = rule["input"]
    if rule_input["last_packet"] or rule["state"] != "active" or any(rule_input["drops"].values()):
        return trace
    if not is_group(rule_input["destination"]):
        return _advise_on_silent_address(rule_input)
    if interface is None or interface["packets"]:
        return trace
    return (
        f"No UDP packet has arrived on {interface['device']}: check the sender, the cable, and the switch,"
        " which may be snooping IGMP in a network without an IGMP querier."
    )


def _advise_on_silent_address(rule_input: Part) -> str:
    """Return what to check if nothing has arrived for a unicast input."""
    address, device = rule_input["destination"], rule_input["device"]
    return (
        f"No packet for {address}:{rule_input['port']} has arrived on {device}: check on the sender's host"
        f" that it sends to this address and port, its way (`ip route get {address}`), and whether ARP has"
        " found the address (`ip neigh`). A firewall on this host does not matter: mcrelay takes packets"
        " before it."
    )
