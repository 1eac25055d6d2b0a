"""The JSON Schema of a configuration file, which also has the defaults.

fastjsonschema turns the schema into a fast function that returns whether a value is valid. If it is not,
`violations.py` finds the violations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pkgutil import get_data
from typing import Any

import fastjsonschema

from mcrelay.config.reader import Data

Schema = dict[str, Any]  # the schema, or a part of it
Check = Callable[[Data], bool]  # returns whether a value is valid

_ANNOTATIONS = ("title", "description", "examples", "default")  # keywords that nothing is checked against
_MAPS_OF_SCHEMAS = ("properties", "$defs")  # keywords with schemas by name: a name is no keyword


@cache
def schema() -> Schema:
    """Return the schema, which is a file in the package."""
    text = get_data("mcrelay", "schema.json")
    assert text is not None, "the loader of the package reads files"
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
    validate = fastjsonschema.compile(_without_annotations(part), use_default=False)

    def check(value: Data) -> bool:
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException:
            return False
        return not _has_float(value)

    return check


def _without_annotations(part: Data) -> Data:
    """Return a schema without its texts, which fastjsonschema would write into its code, and compile."""
    match part:
        case dict():
            kept = {key: value for key, value in part.items() if key not in _ANNOTATIONS}
            return {key: _strip_value(key, value) for key, value in kept.items()}
        case list():
            return [_without_annotations(inner) for inner in part]
        case _:
            return part


def _strip_value(key: str, value: Data) -> Data:
    if key in _MAPS_OF_SCHEMAS:
        return {name: _without_annotations(inner) for name, inner in value.items()}
    return _without_annotations(value)


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
