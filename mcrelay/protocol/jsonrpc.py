"""JSON-RPC 2.0 between clients and the control process, one message a line.

A line from a client is not trusted: its length and its nesting have a limit, it is UTF-8, it is one object
and no batch, and its parameters go by name and have the declared types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

Json = Any  # any value that JSON has

PROTOCOL = 1
MAX_LINE = 16 << 10  # octets of a request, its newline included
MAX_DEPTH = 32  # arrays and objects within one another


class Code(IntEnum):
    """The code of an error: those of JSON-RPC 2.0, and those of mcrelay from -32000 down."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    WRONG_PROTOCOL = -32000
    UNKNOWN_RULE = -32001
    NOT_PERMITTED = -32002
    NOT_TRACEABLE = -32003
    NO_SUCH_TRACE = -32004
    TOO_MANY = -32005


Identity = str | int | None


class RpcError(Exception):
    """A request is answered with an error; `id` is None where the request has none that can be read."""

    def __init__(self, code: Code, message: str, data: Json = None, id: Identity = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data, self.id = code, message, data, id


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client. A notification gets no answer."""

    method: str
    params: Mapping[str, Json]
    id: Identity = None
    is_notification: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a method: its name, the type of its value, and whether it is required."""

    name: str
    kind: type[str] | type[int] | type[bool]
    is_required: bool = False


_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_TYPE_NAMES: dict[type, str] = {str: "a string", int: "an integer", bool: "true or false"}

# A string is matched as a whole, with the brackets in it; one without an end reaches to the end of the line.
_BRACKET_OR_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[]}]', re.DOTALL)


def parse_request(line: bytes) -> Request:
    """Return the request in a line; raises RpcError."""
    _refuse_depth(line)
    try:
        fields = json.loads(line.decode(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise RpcError(Code.PARSE_ERROR, f"a request is one line of JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RpcError(Code.INVALID_REQUEST, "a request is one object; batches are not taken")
    return _request(fields)


def _refuse_depth(line: bytes) -> None:
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(line):
        match token[0]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}":
                depth -= 1
        if depth > MAX_DEPTH:
            raise RpcError(Code.PARSE_ERROR, f"a request is nested at most {MAX_DEPTH} deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _request(fields: dict[str, Json]) -> Request:
    id, method, params = fields.get("id"), fields.get("method"), fields.get("params", {})
    if not (id is None or type(id) in (str, int)):
        raise RpcError(Code.INVALID_REQUEST, "`id` is a string or an integer")
    if fields.get("jsonrpc") != "2.0":
        raise RpcError(Code.INVALID_REQUEST, '`jsonrpc` is "2.0"', id=id)
    if not isinstance(method, str):
        raise RpcError(Code.INVALID_REQUEST, "`method` is a string", id=id)
    if not isinstance(params, dict):
        raise RpcError(Code.INVALID_PARAMS, "`params` is an object: parameters go by name", id=id)
    return Request(method, params, id, is_notification="id" not in fields)


def bind_parameters(declared: Sequence[Parameter], params: Mapping[str, Json]) -> dict[str, Json]:
    """Return the value of each declared parameter, None where it was not given; raises RpcError."""
    known = {parameter.name: parameter for parameter in declared}
    for name in params:
        if name not in known:
            raise RpcError(Code.INVALID_PARAMS, f"no parameter is named `{name}`{_there_are(known)}")
    return {name: _value(parameter, params) for name, parameter in known.items()}


def _value(parameter: Parameter, params: Mapping[str, Json]) -> Json:
    value = params.get(parameter.name)
    if value is None and not parameter.is_required:
        return None
    if type(value) is not parameter.kind:  # to Python, true is an integer
        problem = "is missing" if parameter.name not in params else f"is to be {_TYPE_NAMES[parameter.kind]}"
        raise RpcError(Code.INVALID_PARAMS, f"the parameter `{parameter.name}` {problem}")
    return value


def _there_are(known: Mapping[str, Parameter]) -> str:
    return f"; there are: {', '.join(known)}" if known else "; there are none"


def encode_request(id: int, method: str, params: Mapping[str, Json]) -> bytes:
    """Return a request as a line."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def encode_result(id: Identity, result: Sequence[bytes]) -> list[bytes]:
    """Return an answer as a line, in pieces. The pieces of `result` are JSON, and are not copied."""
    return [b'{"jsonrpc":"2.0","id":%b,"result":' % encode_json(id).encode(), *result, b"}\n"]


def encode_error(error: RpcError, id: Identity) -> bytes:
    """Return an answer that is an error as a line."""
    fields: dict[str, Json] = {"code": int(error.code), "message": error.message}
    if error.data is not None:
        fields["data"] = error.data
    return _line({"jsonrpc": "2.0", "id": id, "error": fields})


def _line(fields: Mapping[str, Json]) -> bytes:
    return encode_json(fields).encode() + b"\n"


def encode_json(value: Json) -> str:
    """Return a value as JSON without white space. The value has no cycle."""
    return _ENCODER.encode(value)
