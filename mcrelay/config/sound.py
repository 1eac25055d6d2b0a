"""Whether data is as a part of the schema demands: the quick answer, for the many values that are.

jsonschema explains what is wrong, and takes a second over ten thousand rules in which nothing is. Here a
part of the schema becomes a function that only says yes or no, so that jsonschema looks at nothing but what
is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from mcrelay.config.reader import Data

Schema = Mapping[str, Any]  # a part of the schema, with its references resolved
Check = Callable[[Data], bool]

# An integer is neither 1.0 nor true here.
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_NUMBERS = (int, float)
_ANNOTATIONS = frozenset({"$schema", "$defs", "title", "description", "examples", "default"})


def soundness(part: Schema) -> Check:
    """Return what tells whether a value is as this part of the schema demands.

    A keyword that is unknown here is a KeyError, lest it be passed over.
    """
    checks = [_CHECKS[keyword](part) for keyword in part if keyword not in _ANNOTATIONS]
    match checks:
        case [check]:
            return check
        case [first, second]:
            return lambda value: first(value) and second(value)
        case _:
            return lambda value: all(check(value) for check in checks)


@cache
def matching(pattern: str) -> re.Pattern[str]:
    """Return a pattern of the schema, in which `$` is the end; Python's also matches before a line feed."""
    return re.compile(pattern.replace("$", r"\Z"))


def repeats(items: Sequence[object]) -> list[int]:
    """Return the places of texts that stand further up in a list, too."""
    seen: set[str] = set()
    found = []
    for index, item in enumerate(items):
        if isinstance(item, str):
            if item in seen:
                found.append(index)
            seen.add(item)
    return found


# One function a keyword: it takes the part of the schema that has the keyword, and returns the check. As in
# JSON Schema, a keyword has nothing to say about values of other types than its own.


def _type(part: Schema) -> Check:
    names = [part["type"]] if isinstance(part["type"], str) else part["type"]
    types = frozenset(kind for name in names for kind in _TYPES[name])
    return lambda value: type(value) in types


def _const(part: Schema) -> Check:
    wanted = part["const"]
    return lambda value: type(value) is type(wanted) and value == wanted


def _enum(part: Schema) -> Check:
    words = frozenset(part["enum"])
    return lambda value: isinstance(value, str) and value in words


def _minimum(part: Schema) -> Check:
    least = part["minimum"]
    return lambda value: type(value) not in _NUMBERS or not value < least


def _maximum(part: Schema) -> Check:
    most = part["maximum"]
    return lambda value: type(value) not in _NUMBERS or not value > most


def _max_length(part: Schema) -> Check:
    most = part["maxLength"]
    return lambda value: not isinstance(value, str) or len(value) <= most


def _pattern(part: Schema) -> Check:
    found = matching(part["pattern"]).search
    return lambda value: not isinstance(value, str) or found(value) is not None


def _min_items(part: Schema) -> Check:
    least = part["minItems"]
    return lambda value: not isinstance(value, list) or len(value) >= least


def _unique_items(_: Schema) -> Check:
    return lambda value: not isinstance(value, list) or not repeats(value)


def _items(part: Schema) -> Check:
    is_sound = soundness(part["items"])
    return lambda value: not isinstance(value, list) or all(map(is_sound, value))


def _required(part: Schema) -> Check:
    keys = frozenset(part["required"])
    return lambda value: not isinstance(value, dict) or value.keys() >= keys


def _property_names(part: Schema) -> Check:
    is_sound = soundness(part["propertyNames"])
    return lambda value: not isinstance(value, dict) or all(map(is_sound, value))


def _properties(part: Schema) -> Check:
    known = {key: soundness(inner) for key, inner in part["properties"].items()}

    def check(value: Data) -> bool:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in known and not known[key](inner):
                    return False
        return True

    return check


def _additional_properties(part: Schema) -> Check:
    if part["additionalProperties"] is False:
        known = part["properties"].keys()
        return lambda value: not isinstance(value, dict) or value.keys() <= known
    is_sound = soundness(part["additionalProperties"])  # of a map that has no key of its own
    return lambda value: not isinstance(value, dict) or all(map(is_sound, value.values()))


def _any_of(part: Schema) -> Check:
    choices = [soundness(choice) for choice in part["anyOf"]]
    return lambda value: any(is_sound(value) for is_sound in choices)


def _not(part: Schema) -> Check:
    is_wrong = soundness(part["not"])
    return lambda value: not is_wrong(value)


_CHECKS: dict[str, Callable[[Schema], Check]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "minimum": _minimum,
    "maximum": _maximum,
    "maxLength": _max_length,
    "pattern": _pattern,
    "minItems": _min_items,
    "uniqueItems": _unique_items,
    "items": _items,
    "required": _required,
    "propertyNames": _property_names,
    "properties": _properties,
    "additionalProperties": _additional_properties,
    "anyOf": _any_of,
    "not": _not,
}
