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
Check = Callable[[Data], bool]  # whether a value is valid


@cache
def schema() -> Schema:
    """Return the schema. It is part of the package, as the modules are, and read as they are."""
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


def is_valid(data: Data) -> bool:
    """Return whether the data of a file is valid."""
    return _file_check()(data)


@cache
def _file_check() -> Check:
    return compile_check(schema())


def compile_check(part: Schema) -> Check:
    """Return a function that tells whether a value is valid by the schema, or by a part of `whole_schema()`.

    An integer is an int: JSON Schema also takes 1.0 for one, but no valid value is a float.
    """
    validate = fastjsonschema.compile(part, use_default=False)

    def check(value: Data) -> bool:
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException:
            return False
        return not _has_float(value)

    return check


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
