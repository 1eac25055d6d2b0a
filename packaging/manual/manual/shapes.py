"""A JSON Schema -> a list of every key: what it is, whether it must be there, and what else is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def keys(schema: Schema) -> Iterator[str]:
    """Yield markup: the keys of the document, then of each map in it, below a heading that is its path."""
    return _keys("", schema, schema)


def _keys(path: str, part: Schema, whole: Schema) -> Iterator[str]:
    required = part.get("required", ())
    is_telling = len(required) < len(part["properties"])  # where all are required, it need not be said
    maps: list[tuple[str, Schema]] = []
    for key, value in part["properties"].items():
        value = _followed(value, whole)
        yield _definition(key, value, is_telling and key in required)
        maps += _maps_in(f"{path}.{key}".lstrip("."), value, whole)
    for inner_path, inner in maps:
        yield f"## {inner_path}"
        yield from _keys(inner_path, inner, whole)


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


def _definition(key: str, part: Schema, is_required: bool) -> str:
    facts = [_kind(part)]
    if is_required:
        facts.append("required")
    if part.get("default") not in (None, "", []):
        facts.append(f"default `{_yaml(part['default'])}`")
    examples = [f"`{_yaml(example)}`" for example in part.get("examples", ()) if _is_plain(example)]
    example = f" Example: {' or '.join(examples)}" if examples else ""
    return f"`{key}`: {'; '.join(facts)}\n: {part['description']}{example}"


def _kind(part: Schema) -> str:
    """Return what a value may be, in words: the title where there is one."""
    match part:
        case {"title": title}:
            return str(title)
        case {"const": value}:
            return f"`{value}`"
        case {"enum": [*values, last]}:
            return f"{', '.join(f'`{value}`' for value in values)} or `{last}`"
        case {"anyOf": choices}:
            return " or ".join(map(_kind, choices))
        case {"type": str(name)}:
            return name
        case {"type": [*names]}:
            return " or ".join(names)
    raise ValueError(f"nothing says what a value may be: {part}")


def _is_plain(value: object) -> bool:
    """Tell whether an example says something that those of the keys below it do not."""
    return not isinstance(value, dict) and not (isinstance(value, list) and isinstance(value[0], dict))


def _yaml(value: object) -> str:
    """Return a value as one would write it in the file."""
    return json.dumps(value).replace('"', "")
