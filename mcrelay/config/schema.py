"""What the schema says: every violation in a file as a sentence, and the defaults.

A `title` in the schema is what a message says after "expected": one place for the rule and for its words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from mcrelay.config.problems import Path, Problem, shown
from mcrelay.config.reader import MAX_PROBLEMS, Data, Source
from mcrelay.config.sound import Check, matching, repeats, soundness
from mcrelay.model.suggestions import did_you_mean, listed

AnyValidator = Any  # whose VALIDATORS and descend() jsonschema has, and its types have not
Errors = Iterator[ValidationError]

_YAML_1_1_BOOLEANS = {
    **dict.fromkeys(("y", "yes", "on"), "true"),
    **dict.fromkeys(("n", "no", "off"), "false"),
}


@cache
def schema() -> dict[str, Any]:
    """Return the schema as it stands in the package."""
    text = resources.files("mcrelay").joinpath("schema.json").read_bytes()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def default(kind: str, key: str) -> Data:
    """Return the default of a key of an `interface`, `rule` or `input`, or of the `file` itself."""
    owner = schema() if kind == "file" else schema()["$defs"][kind]
    return owner["properties"][key]["default"]


def violations(source: Source) -> Iterator[tuple[Path, Problem]]:
    """Yield what the schema forbids in a source, each with the path whose value must not be used."""
    if not _is_sound()(source.data):
        for error in islice(_validator().iter_errors(source.data), MAX_PROBLEMS):
            yield from _explained(error, source)


def _explained(error: ValidationError, source: Source) -> Iterator[tuple[Path, Problem]]:
    path: Path = tuple(error.absolute_path)
    value: Data = error.instance
    demand: Data = error.validator_value
    schema_here: Data = error.schema
    match error.validator:
        case "required":
            for key in demand:
                if key not in value:
                    yield path, source.problem_at_key(path, _missing([key], schema_here))
        case "anyOf" if "properties" in schema_here:
            keys = [key for choice in demand for key in choice["required"]]
            yield path, source.problem_at_key(path, _missing(keys, schema_here))
        case "not":
            path = (*path, demand["required"][-1])
            yield path, source.problem_at_key(path, f"takes {_either(demand['required'])}, not both")
        case "additionalProperties":
            known = schema_here["properties"]
            for key in value.keys() - known.keys():
                hint = did_you_mean(key, known) or f"; known here: {listed(known)}"
                yield (*path, key), source.problem_at_key((*path, key), f"unknown key{hint}")
        case "uniqueItems":
            for index in repeats(value):
                yield (*path, index), source.problem((*path, index), f"{value[index]} is given twice")
        case _ if "propertyNames" in error.absolute_schema_path:
            yield (*path, value), source.problem_at_key((*path, value), _expected(value, schema_here))
        case _:
            yield path, source.problem(path, _expected(value, schema_here))


def _missing(keys: list[str], owner: Mapping[str, Any]) -> str:
    example = json.dumps(owner["properties"][keys[0]]["examples"][0]).replace('"', "")
    return f"{_either(keys)} is missing; add, for example, `{keys[0]}: {example}`"


def _either(keys: Iterable[str]) -> str:
    return " or ".join(f"`{key}`" for key in keys)


def _expected(value: Data, wanted: Mapping[str, Any]) -> str:
    instead = "but nothing is here" if value is None else f"not {shown(value)}"
    return f"expected {wanted['title']}, {instead}{_hint(value, wanted)}"


def _hint(value: object, wanted: Mapping[str, Any]) -> str:
    if not isinstance(value, str):
        return ""
    choices = wanted.get("anyOf", [wanted])
    types = [choice.get("type") for choice in choices]
    if "boolean" in types and value.lower() in _YAML_1_1_BOOLEANS:
        return f"; write `{_YAML_1_1_BOOLEANS[value.lower()]}`"
    if "integer" in types and value.isdecimal():
        return "; write it without quotes"
    words = [choice["const"] for choice in choices if "const" in choice] + wanted.get("enum", [])
    return did_you_mean(value, (word for word in words if isinstance(word, str)))


@cache
def _whole() -> Mapping[str, Any]:
    """Return the schema with what its references refer to in their place."""
    inlined: dict[str, Any] = _inlined(schema())
    return inlined


def _inlined(node: Data) -> Data:
    match node:
        case {"$ref": str(reference), **siblings}:
            return {**_inlined(schema()["$defs"][reference.removeprefix("#/$defs/")]), **siblings}
        case dict():
            return {key: _inlined(value) for key, value in node.items()}
        case list():
            return [_inlined(item) for item in node]
        case _:
            return node


@cache
def _is_sound() -> Check:
    return soundness(_whole())


@cache
def _validator() -> Validator:
    descent = _Descent()
    strict: Callable[[Data], Validator] = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        {
            "pattern": _pattern,
            "uniqueItems": _unique_items,
            "properties": descent.properties,
            "additionalProperties": descent.additional_properties,
            "items": descent.items,
        },
        # An integer is neither 1.0 nor true here.
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
            "integer", lambda _, value: type(value) is int
        ),
    )
    return strict(_whole())


def _pattern(_: object, pattern: str, value: object, __: object) -> Errors:
    if isinstance(value, str) and not matching(pattern).search(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _unique_items(_: object, __: bool, value: object, ___: object) -> Errors:
    if isinstance(value, list) and repeats(value):
        yield ValidationError(f"{value!r} has non-unique items")


class _Descent:
    """Keywords of jsonschema, which differ from its own only in that they pass by what is sound."""

    def __init__(self) -> None:
        self._checks: dict[int, Check] = {}  # by the identity of a part of the schema, which stays

    def _is_sound(self, value: Data, wanted: Mapping[str, Any]) -> bool:
        if id(wanted) not in self._checks:
            self._checks[id(wanted)] = soundness(wanted)
        return self._checks[id(wanted)](value)

    def properties(self, validator: AnyValidator, wanted: Data, value: object, _: object) -> Errors:
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key in wanted and not self._is_sound(inner, wanted[key]):
                yield from validator.descend(inner, wanted[key], path=key, schema_path=key)

    def additional_properties(
        self, validator: AnyValidator, wanted: Data, value: object, part: Data
    ) -> Errors:
        if wanted is False:
            yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, wanted, value, part)
            return
        for key, inner in value.items() if isinstance(value, dict) else ():
            if not self._is_sound(inner, wanted):
                yield from validator.descend(inner, wanted, path=key)

    def items(self, validator: AnyValidator, wanted: Data, value: object, _: object) -> Errors:
        for index, item in enumerate(value) if isinstance(value, list) else ():
            if not self._is_sound(item, wanted):
                yield from validator.descend(item, wanted, path=index)
