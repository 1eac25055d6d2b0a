"""The messages between the supervisor and the control process, in JSON; framing.py cuts them into packets.

The supervisor sends only data that clients may read. It does not trust the control process: it kills the
control process if a message from there is not one of the three in `ToSupervisor`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcrelay.protocol.framing import Fields, Hello, WireError, parse_json
from mcrelay.protocol.snapshot import JsonValue

Sections = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SetListener:
    """Carries two descriptors: the socket at which clients connect, and the file for the heartbeat.

    The supervisor sends it first, and again each time that it replaces the socket.
    """


@dataclass(frozen=True, slots=True)
class SetOtherDaemons:
    """Carries the socket at which later daemons of the host connect, and a connection to each earlier one."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Carries a descriptor for reading the memory with the counters of a worker."""

    worker: int


@dataclass(frozen=True, slots=True)
class KernelCounters:
    """Carries a descriptor for reading a part of the counters of the kernel data plane.

    `name` is that of the map; `plane` is another number after the data plane was removed and made again.
    """

    plane: int
    name: str


@dataclass(frozen=True, slots=True)
class SnapshotChanged:
    """Carries a delta of the snapshot (snapshot.py)."""

    sections: Sections = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MarkAnswer:
    """Answers the `Mark` of the same number: `begun` reloads had begun when the supervisor read it."""

    mark: int
    begun: int


@dataclass(frozen=True, slots=True)
class TraceState:
    """Reports the trace `number` of a rule, with a descriptor to read the trace ring of each of `workers`.

    The supervisor sends the same number again when further workers trace the rule. A message with a `reason`
    and without workers means that the rule cannot be traced, or that its trace has ended.
    """

    rule: str
    number: int
    workers: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Asks how many reloads have begun. The number of each later reload is higher than the answer."""

    mark: int


@dataclass(frozen=True, slots=True)
class TraceRule:
    """Asks the supervisor to trace a rule or, if `wanted` is false, to end its trace."""

    rule: str
    wanted: bool


ToControl = (
    SetListener | SetOtherDaemons | Counters | KernelCounters | SnapshotChanged | MarkAnswer | TraceState
)
ToSupervisor = Hello | Mark | TraceRule


def encode_to_control(message: ToControl) -> bytes:
    """Return the text of a message to the control process."""
    match message:
        case SetListener():
            fields: Fields = ["listener"]
        case SetOtherDaemons():
            fields = ["others"]
        case Counters(worker):
            fields = ["counters", worker]
        case KernelCounters(plane, name):
            fields = ["kernel", plane, name]
        case SnapshotChanged(sections):
            fields = ["snapshot", sections]
        case MarkAnswer(mark, begun):
            fields = ["mark", mark, begun]
        case TraceState(rule, number, workers, reason):  # pragma: no branch: there is no other
            fields = ["trace", rule, number, workers, reason]
    return json.dumps(fields, separators=(",", ":"), default=_as_json).encode()


def _as_json(value: JsonValue) -> object:
    return value.as_json()


def decode_to_control(text: bytes) -> ToControl:
    """Return the message that `encode_to_control` wrote. Raises WireError if it is not a known message."""
    match json.loads(text):
        case ["listener"]:
            return SetListener()
        case ["others"]:
            return SetOtherDaemons()
        case ["counters", worker]:
            return Counters(worker)
        case ["kernel", plane, name]:
            return KernelCounters(plane, name)
        case ["snapshot", sections]:
            return SnapshotChanged(sections)
        case ["mark", mark, begun]:
            return MarkAnswer(mark, begun)
        case ["trace", rule, number, workers, reason]:
            return TraceState(rule, number, tuple(workers), reason)
        case [word, *_]:
            raise WireError(f"the supervisor sent an unknown message: {word!r}")
        case _:
            raise WireError("the supervisor sent something that is not a message")


def encode_to_supervisor(message: ToSupervisor) -> bytes:
    """Return the text of a message to the supervisor."""
    match message:
        case Hello(protocol):
            fields: Fields = ["hello", protocol]
        case Mark(mark):
            fields = ["mark", mark]
        case TraceRule(rule, wanted):  # pragma: no branch: there is no other
            fields = ["trace", rule, wanted]
    return json.dumps(fields).encode()


def decode_to_supervisor(text: bytes) -> ToSupervisor:
    """Return the message that the control process sent. Raises WireError if it is not a known message."""
    match parse_json(text):
        case ["hello" | "mark", bool()]:
            pass  # Python takes True for an int; the protocol does not
        case ["hello", int(protocol)]:
            return Hello(protocol)
        case ["mark", int(mark)]:
            return Mark(mark)
        case ["trace", str(rule), bool(wanted)]:
            return TraceRule(rule, wanted)
    raise WireError("unknown message")
