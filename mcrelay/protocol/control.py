"""The messages between supervisor and control process: JSON, cut into packets as wire.py does it.

The supervisor tells what there is, and trusts nothing that the control process asks for: a request is one of
three small messages, or the control process is put down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcrelay.protocol.snapshot import JsonValue
from mcrelay.protocol.worker import Fields, Hello, WireError, parsed

Sections = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SetListener:
    """Beside it come the socket on which clients knock, and a file to be written to as a sign of life.

    It is the first message, and comes again with another socket where somebody removed the first one.
    """


@dataclass(frozen=True, slots=True)
class Counters:
    """Beside it comes the memory of a worker's counters, for reading."""

    worker: int


@dataclass(frozen=True, slots=True)
class SnapshotChanged:
    """The sections of the picture that are other than before, as picture.py merges them."""

    sections: Sections = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MarkAnswer:
    """The answer to a mark: how many reloads had begun when the supervisor saw it."""

    mark: int
    begun: int


@dataclass(frozen=True, slots=True)
class TraceState:
    """A rule is traced: beside it come, in the order of `workers`, the rings that they write, for reading.

    The same number may come again, with the rings of more workers. With a `reason` and without workers, the
    rule is not traced, or no longer.
    """

    rule: str
    number: int
    workers: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Asks how many reloads have begun: what begins later has a higher number."""

    mark: int


@dataclass(frozen=True, slots=True)
class TraceRule:
    """Asks for a rule to be traced, or to be traced no longer."""

    rule: str
    wanted: bool


ToControl = SetListener | Counters | SnapshotChanged | MarkAnswer | TraceState
Request = Hello | Mark | TraceRule


def encoded_news(news: ToControl) -> bytes:
    """Return the text of what the supervisor tells."""
    match news:
        case SetListener():
            fields: Fields = ["listen"]
        case Counters(worker):
            fields = ["memory", worker]
        case SnapshotChanged(sections):
            fields = ["picture", sections]
        case MarkAnswer(mark, begun):
            fields = ["marked", mark, begun]
        case TraceState(rule, number, workers, reason):  # pragma: no branch: there is no other
            fields = ["trace", rule, number, workers, reason]
    return json.dumps(fields, separators=(",", ":"), default=_drawn).encode()


def _drawn(value: JsonValue) -> object:
    return value.as_json()


def decode_to_control(text: bytes) -> ToControl:
    """Return what `encoded_news` wrote."""
    match json.loads(text):
        case ["listen"]:
            return SetListener()
        case ["memory", worker]:
            return Counters(worker)
        case ["picture", sections]:
            return SnapshotChanged(sections)
        case ["marked", mark, begun]:
            return MarkAnswer(mark, begun)
        case ["trace", rule, number, workers, reason]:
            return TraceState(rule, number, tuple(workers), reason)
        case [word, *_]:
            raise WireError(f"the supervisor said something unknown: {word!r}")
        case _:
            raise WireError("the supervisor said something that is no message")


def encoded_request(request: Request) -> bytes:
    """Return the text of what the control process asks for."""
    match request:
        case Hello(protocol):
            fields: Fields = ["hello", protocol]
        case Mark(mark):
            fields = ["mark", mark]
        case TraceRule(rule, wanted):  # pragma: no branch: there is no other
            fields = ["trace", rule, wanted]
    return json.dumps(fields).encode()


def decoded_request(text: bytes) -> Request:
    """Return what the control process asks for; anything unexpected is a WireError."""
    match parsed(text):
        case ["hello" | "mark", bool()]:
            pass  # Python takes True for an int; the protocol does not
        case ["hello", int(protocol)]:
            return Hello(protocol)
        case ["mark", int(mark)]:
            return Mark(mark)
        case ["trace", str(rule), bool(wanted)]:
            return TraceRule(rule, wanted)
    raise WireError("a request is none that the protocol knows")
