"""What became of a traced packet, told: as a JSON document, and as one line for a person."""

from __future__ import annotations

import base64
import errno
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mcrelay.model.drops import Drop
from mcrelay.tracing.ring import EXPIRED, NO_VLAN, SENT, Event, Head, Outcome, PacketVerdict

Document = dict[str, Any]


def document(event: Event, rule: str, devices: Mapping[int, str], with_packet: bool) -> Document:
    """Return an event as `mcrelay trace --json` prints it; `devices` are names of devices by index.

    Ports and payload are null where there is no UDP header to trust. `packet` is base64, from the IP header
    on, as much of it as was kept.
    """
    head = event.head
    has_ports = head.verdict.has_ports
    told: Document = {
        "rule": rule,
        "time": timestamp(head.time),
        "time_ns": head.time,
        "device": devices.get(head.ifindex),
        "source": dotted(head.source),
        "source_port": head.source_port if has_ports else None,
        "destination": dotted(head.destination),
        "port": head.destination_port if has_ports else None,
        "ttl": head.ttl,
        "dscp": head.tos >> 2,
        "vlan": None if head.vlan == NO_VLAN else head.vlan,
        "length": head.length,
        "payload": head.payload if has_ports else None,
        "verdict": "dropped" if head.verdict.drop else "relayed",
        "reason": head.verdict.drop and head.verdict.drop.value,
        "explanation": _explanation(head),
        "outputs": [_output(outcome, devices) for outcome in event.outcomes],
        "unlisted_outputs": max(0, event.outputs - len(event.outcomes)),
    }
    if with_packet:
        told["packet"] = base64.b64encode(event.packet).decode()
    return told


def dotted(address: int) -> str:
    """Return an address as a dotted quad."""
    return ".".join(str(octet) for octet in address.to_bytes(4, "big"))


def timestamp(nanoseconds: int) -> str:
    """Return nanoseconds since 1970 as ISO 8601 writes them: 2026-11-22T21:03:04.123456789Z."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    seconds %= 1 << 32  # whatever it is, it is shown
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"


def _explanation(head: Head) -> str:
    match head.verdict:
        case PacketVerdict.RELAYED:
            return ""
        case PacketVerdict.NO_RULE:
            return f"no rule takes port {head.destination_port} of {dotted(head.destination)} on this device"
        case PacketVerdict.TAGGED:
            return f"the frame is of VLAN {head.vlan}, and rules on this device take untagged ones only"
        case PacketVerdict.SOURCE:
            return f"{dotted(head.source)} is not in `sources`"
        case _:
            assert head.verdict.drop
            return head.verdict.drop.meaning


def _output(outcome: Outcome, devices: Mapping[int, str]) -> Document:
    result, name = "send_error", None
    match outcome.code:
        case code if code == SENT:
            result = "sent"
        case code if code == EXPIRED:
            result = Drop.TTL.value
        case code:
            name = errno.errorcode.get(code, str(code))
    return {
        "device": devices.get(outcome.ifindex),
        "destination": dotted(outcome.destination),
        "port": outcome.port,
        "result": result,
        "errno": name,
    }


def line(told: Document, clock: str) -> str:
    """Return an event's document as one line; `clock` is its time as it shall be shown."""
    return f"{clock}  {_device(told)}  {_packet(told)}: {fate(told)}"


def comment(told: Document) -> str:
    """Return what an event's document says beside the packet itself."""
    return f"rule {told['rule']}: {fate(told)}"


def fate(told: Document) -> str:
    """Return what became of a packet and of its copies."""
    if told["verdict"] == "dropped":
        return f"dropped: {told['reason']} ({told['explanation']})"
    sent = [_copy(output) for output in told["outputs"] if output["result"] == "sent"]
    unsent = [f"{_copy(output)}: {_why(output)}" for output in told["outputs"] if output["result"] != "sent"]
    unlisted = [f"{told['unlisted_outputs']} more outputs"] if told["unlisted_outputs"] else []
    parts = [f"relayed to {', '.join(sent)}"] if sent else []
    parts += [f"not sent to {one}" for one in unsent] + unlisted
    return "; ".join(parts) or "relayed to nowhere"


def _device(told: Document) -> str:
    return told["device"] or "(a device that is gone)"


def _packet(told: Document) -> str:
    source, destination = (
        host if port is None else f"{host}:{port}"
        for host, port in (
            (told["source"], told["source_port"]),
            (told["destination"], told["port"]),
        )
    )
    size = (
        f"IP packet of {told['length']} octets"
        if told["payload"] is None
        else f"{told['payload']} octets of payload"
    )
    return f"{source} > {destination}  {size}, TTL {told['ttl']}"


def _copy(output: Document) -> str:
    return f"{output['destination']}:{output['port']} ({_device(output)})"


def _why(output: Document) -> str:
    return output["errno"] or "ttl (`ttl: decrement` left nothing)"
