"""The schema of a configuration file: what it allows, and its defaults.

fastjsonschema turns the schema into a function that only says yes or no. `violations.py` explains a no.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import fastjsonschema

from mcrelay.config.reader import Data

Schema = dict[str, Any]  # the schema, or a part of it


@cache
def schema() -> Schema:
    """Return the schema as the package has it."""
    text = resources.files("mcrelay").joinpath("schema.json").read_bytes()
    loaded: Schema = json.loads(text)
    return loaded


@cache
def default(kind: str, key: str) -> Data:
    """Return the default of a key of an `interface`, `rule` or `input`, or of the `file` itself."""
    owner = schema() if kind == "file" else schema()["$defs"][kind]
    return owner["properties"][key]["default"]


@cache
def whole_schema() -> Schema:
    """Return the schema with what its references refer to in their place."""
    inlined: Schema = _inline(schema())
    return inlined


def is_valid(value: Data, part: Schema) -> bool:
    """Tell whether a value is what `schema()`, or a part of `whole_schema()`, demands.

    An integer is an int here: 1.0 is an integer to JSON Schema, and no valid value is a float.
    """
    if id(part) not in _validators:  # the identity, because both schemas stay in memory
        _validators[id(part)] = fastjsonschema.compile(part, use_default=False)
    try:
        _validators[id(part)](value)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return not _has_float(value)


_validators: dict[int, Callable[[Data], Data]] = {}


def _has_float(value: Data) -> bool:
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not list:
        return kind is float
    # Most values are texts and whole numbers, and a call for each takes twice as long.
    return any(_has_float(each) for each in value if type(each) is not str and type(each) is not int)


def _inline(node: Data) -> Data:
    match node:
        case {"$ref": str(reference), **siblings}:
            return {**_inline(schema()["$defs"][reference.removeprefix("#/$defs/")]), **siblings}
        case dict():
            return {key: _inline(value) for key, value in node.items() if key != "$defs"}
        case list():
            return [_inline(item) for item in node]
        case _:
            return node
