"""Formats trace events as JSON documents and as lines of text."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mcrelay.model.addresses import format_endpoint, number_to_address
from mcrelay.model.drops import Drop
from mcrelay.model.send_errors import send_error_name
from mcrelay.tracing.events import EXPIRED, NO_VLAN, SENT, Event, Head, PacketVerdict, SendOutcome

Document = dict[str, Any]


def as_document(event: Event, rule: str, devices: Mapping[int, str], with_packet: bool) -> Document:
    """Return an event as `mcrelay trace --json` prints it; `devices` maps an ifindex to the device's name.

    Ports and payload are null if the packet has no valid UDP header. With `with_packet`, the
    member `packet` has the octets of the event in base64.
    """
    head = event.head
    has_ports = head.verdict.has_ports
    formatted: Document = {
        "rule": rule,
        "time": format_timestamp(head.time),
        "time_ns": head.time,
        "device": devices.get(head.ifindex),
        "source": number_to_address(head.source),
        "source_port": head.source_port if has_ports else None,
        "destination": number_to_address(head.destination),
        "port": head.destination_port if has_ports else None,
        "ttl": head.ttl,
        "dscp": head.tos >> 2,
        "vlan": None if head.vlan == NO_VLAN else head.vlan,
        "length": head.length,
        "payload": head.payload if has_ports else None,
        "verdict": "dropped" if head.verdict.drop else "relayed",
        "reason": head.verdict.drop and head.verdict.drop.value,
        "explanation": _explain(head, devices.get(head.ifindex)),
        "outputs": [_format_outcome(outcome, devices) for outcome in event.outcomes],
        "unlisted_outputs": max(0, event.outputs - len(event.outcomes)),
    }
    if with_packet:
        formatted["packet"] = base64.b64encode(event.packet).decode()
    return formatted


def format_timestamp(nanoseconds: int) -> str:
    """Return nanoseconds since 1970 in the notation of ISO 8601: 2026-11-22T21:03:04.123456789Z."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    seconds %= 1 << 32  # any number in a slot must be printable
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"


def _explain(head: Head, device: str | None) -> str:
    match head.verdict:
        case PacketVerdict.RELAYED:
            return ""
        case PacketVerdict.NO_RULE:
            destination = number_to_address(head.destination)
            return f"no rule matches port {head.destination_port} of {destination} on this device"
        case PacketVerdict.TAGGED:
            name = f"{device or 'eth0'}.{head.vlan}"
            return (
                f"the frame has VLAN tag {head.vlan}: name the VLAN's device, such as {name}, in `interfaces`"
            )
        case PacketVerdict.SOURCE:
            return f"{number_to_address(head.source)} is not in `sources`"
        case _:
            assert head.verdict.drop
            return head.verdict.drop.explanation


def _format_outcome(outcome: SendOutcome, devices: Mapping[int, str]) -> Document:
    result, name = "send_error", None
    match outcome.code:
        case code if code == SENT:
            result = "sent"
        case code if code == EXPIRED:
            result = Drop.TTL.value
        case code:
            name = send_error_name(code)
    return {
        "device": devices.get(outcome.ifindex),
        "destination": number_to_address(outcome.destination),
        "port": outcome.port,
        "result": result,
        "errno": name,
    }


def as_text(event: Document, clock: str) -> str:
    """Return the document of an event as one line of text; `clock` is the time to print."""
    return f"{clock}  {_format_device(event)}  {_format_packet(event)}: {describe(event)}"


def as_comment(event: Document) -> str:
    """Return the comment for the packet of an event in a capture file."""
    return f"rule {event['rule']}: {describe(event)}"


def describe(event: Document) -> str:
    """Return the verdict on a packet and the outcomes, such as `relayed to 239.2.2.2:6001 (eth1)`."""
    if event["verdict"] == "dropped":
        return f"dropped: {event['reason']} ({event['explanation']})"
    outputs = event["outputs"]
    sent = [_format_output(output) for output in outputs if output["result"] == "sent"]
    unsent = [
        f"not sent to {_format_output(output)}: {_format_error(output)}"
        for output in outputs
        if output["result"] != "sent"
    ]
    unlisted = [f"{event['unlisted_outputs']} more outputs"] if event["unlisted_outputs"] else []
    parts = [f"relayed to {', '.join(sent)}"] if sent else []
    parts += unsent + unlisted
    return "; ".join(parts) or "the rule has no outputs"


def _format_device(event: Document) -> str:
    return event["device"] or "(a removed device)"


def _format_packet(event: Document) -> str:
    source, destination = (
        host if port is None else format_endpoint(host, port)
        for host, port in (
            (event["source"], event["source_port"]),
            (event["destination"], event["port"]),
        )
    )
    size = (
        f"IP packet of {event['length']} bytes"
        if event["payload"] is None
        else f"{event['payload']} bytes of payload"
    )
    return f"{source} > {destination}  {size}, TTL {event['ttl']}"


def _format_output(output: Document) -> str:
    return f"{format_endpoint(output['destination'], output['port'])} ({_format_device(output)})"


def _format_error(output: Document) -> str:
    drop = Drop[output["result"].upper()]
    return output["errno"] or f"{drop} ({drop.meaning})"
