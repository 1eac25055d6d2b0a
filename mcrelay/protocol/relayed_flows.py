"""The flows that a daemon relays, as one line of JSON for the other daemons of the host.

Daemons that relay the same flow send every packet once more. Each tells all others what it relays, so that
the status of each can say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcrelay.protocol.framing import WireError

VERSION = 1  # of the shape of the line
MAX_LINE = 32 << 20  # octets


@dataclass(frozen=True, slots=True)
class RelayedFlow:
    """An input, and where its packets go. A device is an ifindex; no `sources` stands for any source."""

    rule: str
    ifindex: int
    destination: str
    port: int
    sources: frozenset[str] = frozenset()
    outputs: frozenset[tuple[int, str, int]] = frozenset()
    """Ifindex, destination and port of each output."""


@dataclass(frozen=True, slots=True)
class OtherDaemon:
    """Another daemon of the host, with what it relays. `pid` is its supervisor, by its own account."""

    pid: int
    config: str
    flows: tuple[RelayedFlow, ...] = ()


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A flow that a rule of this daemon and a rule of another daemon relay."""

    pid: int
    config: str
    rule: str
    is_sent_twice: bool
    """Whether an output is the same, too."""

    @property
    def reason(self) -> str:
        """The duplicate as a reason of the rule."""
        result = "every packet is sent twice" if self.is_sent_twice else "to other outputs"
        return f"also relayed by process {self.pid} ({self.config}, rule {self.rule}): {result}"


def encode_daemon(daemon: OtherDaemon) -> bytes:
    """Return the line about a daemon."""
    flows = [
        [flow.rule, flow.ifindex, flow.destination, flow.port, sorted(flow.sources), sorted(flow.outputs)]
        for flow in daemon.flows
    ]
    fields = {"mcrelay": VERSION, "pid": daemon.pid, "config": daemon.config, "flows": flows}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def decode_daemon(line: bytes) -> OtherDaemon:
    """Return the daemon that a line is about; raises WireError."""
    try:
        match json.loads(line):
            case {"mcrelay": 1, "pid": int(pid), "config": str(config), "flows": list(flows)}:
                return OtherDaemon(pid, config, tuple(_decode_flow(flow) for flow in flows))
    except (ValueError, RecursionError):
        pass
    raise WireError("it does not say what it relays")


def _decode_flow(flow: object) -> RelayedFlow:
    match flow:
        case [str(rule), int(ifindex), str(destination), int(port), list(sources), list(outputs)]:
            return RelayedFlow(
                rule,
                ifindex,
                destination,
                port,
                frozenset(map(str, sources)),
                frozenset(_decode_output(output) for output in outputs),
            )
    raise ValueError("not a flow")


def _decode_output(output: object) -> tuple[int, str, int]:
    match output:
        case [int(ifindex), str(destination), int(port)]:
            return ifindex, destination, port
    raise ValueError("not an output")


def find_duplicates(
    own: Sequence[RelayedFlow], others: Sequence[OtherDaemon]
) -> Mapping[str, tuple[Duplicate, ...]]:
    """Return the duplicates of each rule that has some."""
    found: dict[str, dict[Duplicate, None]] = {}
    by_key: dict[tuple[int, str, int], list[tuple[OtherDaemon, RelayedFlow]]] = {}
    for other in others:
        for flow in other.flows:
            by_key.setdefault((flow.ifindex, flow.destination, flow.port), []).append((other, flow))
    for flow in own:
        for other, theirs in by_key.get((flow.ifindex, flow.destination, flow.port), ()):
            if not flow.sources or not theirs.sources or flow.sources & theirs.sources:
                is_sent_twice = bool(flow.outputs & theirs.outputs)
                duplicate = Duplicate(other.pid, other.config, theirs.rule, is_sent_twice)
                found.setdefault(flow.rule, {})[duplicate] = None
    return {rule: tuple(duplicates) for rule, duplicates in found.items()}
