"""JSON-RPC 2.0 between clients and the control process, with one message in each line.

A line from a client is not trusted. It is refused unless it is a single object in UTF-8 within the limits of
length and nesting, and unless its parameters are given by name and have the declared types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

Json = Any  # any value that JSON has

CLIENT_PROTOCOL = 1
MAX_LINE = 16 << 10  # octets of a request, its newline included
MAX_DEPTH = 32  # arrays and objects within one another


class Code(IntEnum):
    """The codes of errors: those of JSON-RPC 2.0, then those of mcrelay from -32000 downwards."""

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
    """An error that answers a request; `id` is None if the request has no id, or if its id is unreadable."""

    def __init__(self, code: Code, message: str, data: Json = None, id: Identity = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data, self.id = code, message, data, id


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client. The server does not answer a notification."""

    method: str
    params: Mapping[str, Json]
    id: Identity = None
    is_notification: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a method, with its name and the type of its value."""

    name: str
    kind: type[str] | type[int] | type[bool]
    is_required: bool = False


_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_TYPE_NAMES: dict[type, str] = {str: "a string", int: "an integer", bool: "true or false"}

# A string matches as a whole, with all brackets in it. An unclosed string extends to the end of the line.
_BRACKET_OR_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[]}]', re.DOTALL)


def parse_request(line: bytes) -> Request:
    """Return the request in a line. Raises RpcError if the line is not a valid request."""
    _refuse_depth(line)
    try:
        fields = json.loads(line.decode(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise RpcError(Code.PARSE_ERROR, f"a request must be one line of JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RpcError(Code.INVALID_REQUEST, "a request must be one object; batches are not supported")
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
            raise RpcError(Code.PARSE_ERROR, f"a request must not be nested more than {MAX_DEPTH} deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _request(fields: dict[str, Json]) -> Request:
    id, method, params = fields.get("id"), fields.get("method"), fields.get("params", {})
    if not (id is None or type(id) in (str, int)):
        raise RpcError(Code.INVALID_REQUEST, "`id` must be a string or an integer")
    if fields.get("jsonrpc") != "2.0":
        raise RpcError(Code.INVALID_REQUEST, '`jsonrpc` must be "2.0"', id=id)
    if not isinstance(method, str):
        raise RpcError(Code.INVALID_REQUEST, "`method` must be a string", id=id)
    if not isinstance(params, dict):
        raise RpcError(Code.INVALID_PARAMS, "`params` must be an object: parameters are given by name", id=id)
    return Request(method, params, id, is_notification="id" not in fields)


def bind_parameters(declared: Sequence[Parameter], params: Mapping[str, Json]) -> dict[str, Json]:
    """Return the value of each declared parameter, or None if it was not given.

    Raises RpcError if a parameter is unknown, has the wrong type, or is required and missing.
    """
    by_name = {parameter.name: parameter for parameter in declared}
    for name in params:
        if name not in by_name:
            raise RpcError(Code.INVALID_PARAMS, f"no parameter is named `{name}`{_list_names(by_name)}")
    return {name: _value(parameter, params) for name, parameter in by_name.items()}


def _value(parameter: Parameter, params: Mapping[str, Json]) -> Json:
    value = params.get(parameter.name)
    if value is None and not parameter.is_required:
        return None
    if type(value) is not parameter.kind:  # not isinstance, because a bool is an int
        problem = "is missing" if parameter.name not in params else f"must be {_TYPE_NAMES[parameter.kind]}"
        raise RpcError(Code.INVALID_PARAMS, f"the parameter `{parameter.name}` {problem}")
    return value


def _list_names(parameters: Mapping[str, Parameter]) -> str:
    return f"; there are: {', '.join(parameters)}" if parameters else "; there are none"


def encode_request(id: int, method: str, params: Mapping[str, Json]) -> bytes:
    """Return the line of a request."""
    return _line({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def encode_result(id: Identity, result: Sequence[bytes]) -> list[bytes]:
    """Return the line of an answer, in pieces. The pieces of `result` are JSON text, and are not copied."""
    return [b'{"jsonrpc":"2.0","id":%b,"result":' % encode_json(id).encode(), *result, b"}\n"]


def encode_error(error: RpcError, id: Identity) -> bytes:
    """Return the line of an answer with an error."""
    fields: dict[str, Json] = {"code": int(error.code), "message": error.message}
    if error.data is not None:
        fields["data"] = error.data
    return _line({"jsonrpc": "2.0", "id": id, "error": fields})


def _line(fields: Mapping[str, Json]) -> bytes:
    return encode_json(fields).encode() + b"\n"


def encode_json(value: Json) -> str:
    """Return a value as JSON without white space. The value must not contain itself."""
    return _ENCODER.encode(value)
