"""JSON-RPC 2.0, one message a line: what a client may say, and how it is answered.

A line is hostile until it has passed: it has a longest length and a deepest nesting, is UTF-8, is one object
and no batch, and names its parameters, each of the declared type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

Json = Any  # whatever JSON can say

PROTOCOL = 1
MAX_LINE = 16 << 10  # octets of a request, its newline included
MAX_DEPTH = 32  # arrays and objects within one another


class Code(IntEnum):
    """What kind of error an answer is about: those of JSON-RPC 2.0, and our own from -32000 down."""

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
    """A request that is answered with an error; `id` is None where the request did not say it."""

    def __init__(self, code: Code, message: str, data: Json = None, id: Identity = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data, self.id = code, message, data, id


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for. A notification gets no answer."""

    method: str
    params: Mapping[str, Json]
    id: Identity = None
    is_notification: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that a method takes: its name, the type of its value, and whether it must be given."""

    name: str
    kind: type[str] | type[int] | type[bool]
    is_required: bool = False


_WORDS: dict[type, str] = {str: "a string", int: "an integer", bool: "true or false"}

# A string is skipped as a whole, whatever brackets stand in it; one that never ends reaches to the end.
_BRACKET_OR_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[]}]', re.DOTALL)


def parsed(line: bytes) -> Request:
    """Return the request that a line makes; raises RpcError."""
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


def arguments(declared: Sequence[Parameter], params: Mapping[str, Json]) -> dict[str, Json]:
    """Return the parameters that were given, None for those that were not; raises RpcError."""
    known = {parameter.name: parameter for parameter in declared}
    for name in params:
        if name not in known:
            raise RpcError(Code.INVALID_PARAMS, f"no parameter is named `{name}`{_there_are(known)}")
    return {name: _argument(parameter, params) for name, parameter in known.items()}


def _argument(parameter: Parameter, params: Mapping[str, Json]) -> Json:
    value = params.get(parameter.name)
    if value is None and not parameter.is_required:
        return None
    if type(value) is not parameter.kind:  # to Python, true is an integer
        problem = "is missing" if parameter.name not in params else f"is to be {_WORDS[parameter.kind]}"
        raise RpcError(Code.INVALID_PARAMS, f"the parameter `{parameter.name}` {problem}")
    return value


def _there_are(known: Mapping[str, Parameter]) -> str:
    return f"; there are: {', '.join(known)}" if known else "; there are none"


def encoded_request(id: int, method: str, params: Mapping[str, Json]) -> bytes:
    """Return the line of a request."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def encoded_result(id: Identity, result: Sequence[bytes]) -> list[bytes]:
    """Return the line of an answer in pieces; those of `result` are JSON already, and are not copied."""
    return [b'{"jsonrpc":"2.0","id":%b,"result":' % encoded(id), *result, b"}\n"]


def encoded_error(error: RpcError, id: Identity) -> bytes:
    """Return the line of an answer that is an error."""
    fields: dict[str, Json] = {"code": int(error.code), "message": error.message}
    if error.data is not None:
        fields["data"] = error.data
    return _line({"jsonrpc": "2.0", "id": id, "error": fields})


def _line(fields: Mapping[str, Json]) -> bytes:
    return encoded(fields) + b"\n"


def encoded(value: Json) -> bytes:
    """Return a value as JSON, as short as it gets."""
    return json.dumps(value, separators=(",", ":")).encode()
