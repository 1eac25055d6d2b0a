"""A JSON Schema -> a list of every key: what it is, whether it must be there, and what else is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def keys(schema: Schema) -> Iterator[str]:
    """Yield markup: for each map in the document, from the outside in, a heading and its keys."""
    waiting: list[tuple[str, Schema]] = [("", schema)]
    for path, part in waiting:  # it grows as we go
        if path:
            yield f"## {path}"
        required = part.get("required", ())
        is_telling = len(required) < len(part["properties"])  # where all are required, it need not be said
        for key, value in part["properties"].items():
            value = _followed(value, schema)
            yield _definition(key, value, is_telling and key in required)
            waiting += _maps_in(_under(path, key), value, schema)


def _maps_in(path: str, part: Schema, whole: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every map with known keys that stands at `path`, in a list there, or under a free name."""
    part = _followed(part, whole)
    if "properties" in part:
        yield path, part
    if "items" in part:
        yield from _maps_in(f"{path}[]", part["items"], whole)
    if isinstance(names := part.get("additionalProperties"), dict):
        yield from _maps_in(f"{path}.NAME", names, whole)
    for choice in (*part.get("anyOf", ()), *part.get("oneOf", ())):
        yield from _maps_in(path, choice, whole)


def _followed(part: Schema, whole: Schema) -> Schema:
    """Return a part together with what it refers to; what it says itself comes first."""
    if "$ref" not in part:
        return part
    name = part["$ref"].removeprefix("#/$defs/")
    return {**_followed(whole["$defs"][name], whole), **part}


def _under(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _definition(key: str, part: Schema, is_required: bool) -> str:
    facts = [_kind(part)]
    if is_required:
        facts.append("required")
    if "default" in part and part["default"] not in ("", []):
        facts.append(f"default `{_yaml(part['default'])}`")
    examples = [f"`{key}: {_yaml(example)}`" for example in part.get("examples", ()) if _is_plain(example)]
    example = f" Example: {' or '.join(examples)}" if examples else ""
    return f"`{key}`: {'; '.join(fact for fact in facts if fact)}\n: {part['description']}{example}"


def _kind(part: Schema) -> str:
    """Return what a value may be, in words: the title where there is one."""
    if "title" in part:
        return str(part["title"])
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return " or ".join("null" if word is None else f"`{word}`" for word in part["enum"])
    if "anyOf" in part:
        return " or ".join(map(_kind, part["anyOf"]))
    types = part["type"]
    return types if isinstance(types, str) else " or ".join(types)


def _is_plain(value: object) -> bool:
    """Tell whether an example says something that those of the keys below it do not."""
    return not isinstance(value, dict) and not (isinstance(value, list) and isinstance(value[0], dict))


def _yaml(value: object) -> str:
    """Return a value as one would write it in the file."""
    return json.dumps(value).replace('"', "")
