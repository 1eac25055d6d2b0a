"""Finds the violations of the schema in a file with jsonschema, and describes them.

In a message, the text after "expected" is the `title` of the violated part of the schema.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from mcrelay.config.problems import Path, Problem, format_value
from mcrelay.config.reader import MAX_PROBLEMS, Data, Source
from mcrelay.config.schema import Check, Schema, compile_check, whole_schema
from mcrelay.config.value_advice import suggest_space, suggest_value
from mcrelay.model.addresses import BROADCAST_UNSUPPORTED
from mcrelay.model.suggestions import did_you_mean, list_words, nearest_word

AnyValidator = Any  # with VALIDATORS and descend(), which are missing in the type stubs of jsonschema
Errors = Iterator[ValidationError]

VALUES_BEFORE_COMPILING = 50  # jsonschema validates as many in the time that compile_check() takes


def find_violations(source: Source) -> Iterator[tuple[Path, Problem]]:
    """Yield the path of each value that violates the schema, with the problem."""
    for error in islice(_validator().iter_errors(source.data), MAX_PROBLEMS):
        yield from _explain(error, source)


def _explain(error: ValidationError, source: Source) -> Iterator[tuple[Path, Problem]]:
    path: Path = tuple(error.absolute_path)
    value: Data = error.instance
    demand: Data = error.validator_value
    schema_here: Data = error.schema
    match error.validator:
        case "required":
            for key in demand:
                if key not in value and key not in _mistyped_keys(value, schema_here):
                    yield path, source.problem_at_key(path, _missing([key], schema_here))
        case "anyOf" if "properties" in schema_here:
            keys = [key for choice in demand for key in choice["required"]]
            # A mistyped key, or `broadcast` instead of these, is a problem of its own.
            if "broadcast" not in value and not {*keys} & _mistyped_keys(value, schema_here):
                yield path, source.problem_at_key(path, _missing(keys, schema_here))
        case "not":
            path = (*path, demand["required"][-1])
            yield path, source.problem_at_key(path, f"use {_either(demand['required'])}, not both")
        case "additionalProperties":
            known = schema_here["properties"]
            for key in value.keys() - known.keys():
                yield (*path, key), source.problem_at_key((*path, key), _describe_unknown(key, known))
        case "uniqueItems":
            for index in find_repeated_texts(value):
                yield (
                    (*path, index),
                    source.problem((*path, index), f"{value[index]} is given twice; delete it"),
                )
        case _ if "propertyNames" in error.absolute_schema_path:
            yield (*path, value), source.problem_at_key((*path, value), _expected(value, schema_here))
        case _:
            yield path, source.problem(path, _expected(value, schema_here))


def _mistyped_keys(value: Mapping[str, Data], owner: Mapping[str, Any]) -> set[str]:
    """Return the known keys that were probably meant by the unknown keys of a map."""
    known = owner["properties"]
    return {nearest_word(key.partition(":")[0], known) for key in value.keys() - known.keys()}


def _describe_unknown(key: str, known: Mapping[str, Any]) -> str:
    if key == "broadcast" and "group" in known:
        return BROADCAST_UNSUPPORTED
    hint = suggest_space(key, known) or did_you_mean(key, known) or f"; known here: {list_words(known)}"
    return f"unknown key{hint}"


def _missing(keys: list[str], owner: Mapping[str, Any]) -> str:
    example = json.dumps(owner["properties"][keys[0]]["examples"][0]).replace('"', "")
    return f"{_either(keys)} is missing; add, for example, `{keys[0]}: {example}`"


def _either(keys: Iterable[str]) -> str:
    return " or ".join(f"`{key}`" for key in keys)


def _expected(value: Data, wanted: Mapping[str, Any]) -> str:
    instead = "but the value is missing" if value is None else f"not {format_value(value)}"
    return f"expected {wanted['title']}, {instead}{suggest_value(value, wanted)}"


@cache
def _validator() -> Validator:
    descent = _Descent()
    strict: Callable[[Schema], Validator] = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        {
            "pattern": _pattern,
            "uniqueItems": _unique_items,
            "propertyNames": descent.property_names,
            "properties": descent.properties,
            "additionalProperties": descent.additional_properties,
            "items": descent.items,
        },
        # Only an int is an integer, as in compile_check(); 1.0 and true are not.
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
            "integer", lambda _, value: type(value) is int
        ),
    )
    return strict(whole_schema())


# Implementations of keywords that replace those of jsonschema. The arguments are the validator, the value of
# the keyword, the value to validate, and the part of the schema that has the keyword.


def _pattern(_: object, pattern: str, value: object, __: object) -> Errors:
    # `$` is the end of the text in JSON Schema; in Python it also matches before a line feed at the end.
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _unique_items(_: object, __: bool, value: object, ___: object) -> Errors:
    if isinstance(value, list) and find_repeated_texts(value):
        yield ValidationError(f"{value!r} has non-unique items")


def find_repeated_texts(items: Sequence[object]) -> list[int]:
    """Return the indices of the texts that occur earlier in the same list."""
    seen: set[str] = set()
    found = []
    for index, item in enumerate(items):
        if isinstance(item, str):
            if item in seen:
                found.append(index)
            seen.add(item)
    return found


class _Descent:
    """Implementations of keywords that find the same errors as jsonschema, and skip valid values quickly.

    For each part of the schema, jsonschema validates the first values. Then the part is compiled.
    """

    def __init__(self) -> None:
        # The keys are id(part of the schema). The parts stay in memory.
        self._values: Counter[int] = Counter()
        self._checks: dict[int, Check] = {}

    def _may_be_invalid(self, value: Data, wanted: Schema) -> bool:
        part = id(wanted)
        self._values[part] += 1
        if self._values[part] <= VALUES_BEFORE_COMPILING:
            return True
        if part not in self._checks:
            self._checks[part] = compile_check(wanted)
        return not self._checks[part](value)

    def property_names(self, validator: AnyValidator, wanted: Schema, value: object, _: object) -> Errors:
        for name in value if isinstance(value, dict) else ():
            if self._may_be_invalid(name, wanted):
                yield from validator.descend(name, wanted)

    def properties(self, validator: AnyValidator, wanted: Data, value: object, _: object) -> Errors:
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key in wanted and self._may_be_invalid(inner, wanted[key]):
                yield from validator.descend(inner, wanted[key], path=key, schema_path=key)

    def additional_properties(
        self, validator: AnyValidator, wanted: Data, value: object, part: Schema
    ) -> Errors:
        if wanted is False:
            yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, wanted, value, part)
            return
        for key, inner in value.items() if isinstance(value, dict) else ():  # a map from names
            if self._may_be_invalid(inner, wanted):
                yield from validator.descend(inner, wanted, path=key)

    def items(self, validator: AnyValidator, wanted: Schema, value: object, _: object) -> Errors:
        for index, item in enumerate(value) if isinstance(value, list) else ():
            if self._may_be_invalid(item, wanted):
                yield from validator.descend(item, wanted, path=index)
