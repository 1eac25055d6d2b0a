"""The JSON Schema of a configuration file, which also has the defaults.

fastjsonschema turns the schema into a fast function that returns whether a value is valid. If it is not,
`violations.py` finds the violations.
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
Check = Callable[[Data], bool]  # returns whether a value is valid


@cache
def schema() -> Schema:
    """Return the schema, which is a file in the package."""
    text = resources.files("mcrelay").joinpath("schema.json").read_bytes()
    loaded: Schema = json.loads(text)
    return loaded


@cache
def default(kind: str, key: str) -> Data:
    """Return the default of a key. `kind` is `interface`, `rule`, `input` or, at the top, `file`."""
    owner = schema() if kind == "file" else schema()["$defs"][kind]
    return owner["properties"][key]["default"]


@cache
def whole_schema() -> Schema:
    """Return the schema with a copy of the referenced part instead of each `$ref`."""
    inlined: Schema = _inline(schema())
    return inlined


def is_valid(data: Data) -> bool:
    """Return whether the data of a file is valid."""
    return _file_check()(data)


@cache
def _file_check() -> Check:
    return compile_check(schema())


def compile_check(part: Schema) -> Check:
    """Return a function that checks a value against the schema or a part of `whole_schema()`.

    JSON Schema accepts 1.0 as an integer. The function refuses it, because no valid value is a float.
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
    # Most values are texts and integers. A recursive call for each of them would take twice as long.
    return any(_has_float(inner) for inner in value if type(inner) is not str and type(inner) is not int)


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
