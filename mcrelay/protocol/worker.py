"""The messages between the supervisor and a worker, in JSON; framing.py cuts them into packets.

The supervisor does not trust a worker: it kills a worker whose answer is not one of the three in `Answer`.
The descriptors that are sent with a batch have the order of its instructions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mcrelay.model.actions import Close, DeleteFlow, Open, SetFlow, WorkerAction
from mcrelay.model.printable import make_printable
from mcrelay.model.send_errors import PathFault
from mcrelay.model.state import Egress, Flow, Ingress, MaxAge, Route, RouteOutput, Trace, WorkerResource
from mcrelay.protocol.framing import Fields, Hello, WireError, parse_json

MAX_REASON = 300  # characters; each takes up to 12 octets as JSON, and an answer must fit in MAX_ANSWER

_RESOURCES: dict[str, type[WorkerResource]] = {
    "max-age": MaxAge,
    "ingress": Ingress,
    "egress": Egress,
    "trace": Trace,
}
_TAGS = {kind: tag for tag, kind in _RESOURCES.items()}


@dataclass(frozen=True, slots=True)
class Instruction:
    """An action with the numbers of the counter rows that it needs.

    `rows` holds the row of the link if `action` opens an Ingress, and the row of the rule followed by the row
    of each output if it is a SetFlow. `resume` is true if the worker continues to read a packet ring that its
    predecessor has read in part.
    """

    action: WorkerAction
    rows: tuple[int, ...] = ()
    resume: bool = False


@dataclass(frozen=True, slots=True)
class BatchMessage:
    """The instructions for a worker, which carries out all of them or none."""

    number: int
    generation: int
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Reports that the worker has carried out a batch."""

    number: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Reports that instruction `index` of a batch failed, and that none of the batch was carried out."""

    number: int
    index: int
    reason: str


Answer = Hello | Acknowledged | Refused


def encode_batch(batch: BatchMessage) -> bytes:
    """Return the text of a batch."""
    instructions = [_instruction_fields(instruction) for instruction in batch.instructions]
    return json.dumps([batch.number, batch.generation, instructions], separators=(",", ":")).encode()


def _instruction_fields(instruction: Instruction) -> Fields:
    rows = list(instruction.rows)
    match instruction.action:
        case Open(worker, resource):
            return ["open", worker, *_resource_fields(resource), rows, instruction.resume]
        case Close(worker, resource):
            return ["close", worker, *_resource_fields(resource)]
        case SetFlow(worker, flow, route):
            outputs = [
                [o.interface, _egress_fields(o.egress), o.destination, o.port, o.ttl, o.dscp, o.fault]
                for o in route.outputs
            ]
            return ["set-flow", worker, _flow_fields(flow), route.rule, route.loopback, outputs, rows]
        case DeleteFlow(worker, flow):  # pragma: no branch: there is no other
            return ["delete-flow", worker, _flow_fields(flow)]


def _resource_fields(resource: WorkerResource) -> Fields:
    """Return the tag that stands for the type of a resource, and the values of its fields."""
    return [_TAGS[type(resource)], [getattr(resource, name) for name in resource.__slots__]]


def _egress_fields(egress: Egress) -> Fields:
    return [egress.ifindex, egress.source, egress.source_port, egress.routing, egress.loopback]


def _flow_fields(flow: Flow) -> Fields:
    return [flow.ifindex, flow.destination, flow.port, flow.source]


def decode_batch(text: bytes) -> BatchMessage:
    """Return the batch that `encode_batch` wrote. Raises WireError if an instruction is unknown."""
    number, generation, instructions = json.loads(text)
    return BatchMessage(number, generation, tuple(_decode_instruction(fields) for fields in instructions))


def _decode_instruction(instruction: Fields) -> Instruction:
    match instruction:
        case ["open", worker, tag, fields, rows, resume] if tag in _RESOURCES:
            return Instruction(Open(worker, _RESOURCES[tag](*fields)), tuple(rows), resume)
        case ["close", worker, tag, fields] if tag in _RESOURCES:
            return Instruction(Close(worker, _RESOURCES[tag](*fields)))
        case ["set-flow", worker, flow, rule, loopback, outputs, rows]:
            copies = tuple(
                RouteOutput(
                    interface, Egress(*egress), destination, port, ttl, dscp, fault and PathFault(fault)
                )
                for interface, egress, destination, port, ttl, dscp, fault in outputs
            )
            return Instruction(SetFlow(worker, Flow(*flow), Route(rule, copies, loopback)), tuple(rows))
        case ["delete-flow", worker, flow]:
            return Instruction(DeleteFlow(worker, Flow(*flow)))
        case _:
            raise WireError(f"unknown instruction in a batch: {instruction!r}")


def encode_answer(answer: Answer) -> bytes:
    """Return the text of an answer, which is at most MAX_ANSWER octets long."""
    match answer:
        case Hello(protocol):
            fields: Fields = ["hello", protocol]
        case Acknowledged(number):
            fields = ["acknowledged", number]
        case Refused(number, index, reason):  # pragma: no branch: there is no other
            fields = ["refused", number, index, reason[:MAX_REASON]]
    return json.dumps(fields).encode()


def decode_answer(text: bytes) -> Answer:
    """Return the answer of a worker. Raises WireError if the answer is not a known one."""
    match parse_json(text):
        case [*values] if bool in map(type, values):
            pass  # Python takes True for an int; the protocol does not
        case ["hello", int(protocol)]:
            return Hello(protocol)
        case ["acknowledged", int(number)]:
            return Acknowledged(number)
        case ["refused", int(number), int(index), str(reason)]:
            # The log shows the reason, so it must contain neither line breaks nor control sequences.
            return Refused(number, index, make_printable(reason, "?"))
    raise WireError("unknown answer of a worker")
