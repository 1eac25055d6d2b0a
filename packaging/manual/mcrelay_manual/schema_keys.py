"""A JSON Schema as Markdown: every key with its type, its default and its description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def keys(schema: Schema) -> Iterator[tuple[str, list[str]]]:
    """Yield the path of each map ("" for the document itself), and a definition for each of its keys."""
    return _keys("", schema, schema)


def _keys(path: str, part: Schema, whole: Schema) -> Iterator[tuple[str, list[str]]]:
    required = part.get("required", ())
    shows_required = len(required) < len(part["properties"])  # else every key is required
    definitions: list[str] = []
    maps: list[tuple[str, Schema]] = []
    for key, value in part["properties"].items():
        value = _resolve(value, whole)
        definitions.append(_definition(key, value, shows_required and key in required))
        maps += _maps_in(f"{path}.{key}".lstrip("."), value, whole)
    yield path, definitions
    for inner_path, inner in maps:
        yield from _keys(inner_path, inner, whole)


def _maps_in(path: str, part: Schema, whole: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every map with known keys at `path`, in a list at `path`, or under a free name below `path`."""
    part = _resolve(part, whole)
    if "properties" in part:
        yield path, part
    if "items" in part:
        yield from _maps_in(f"{path}[]", part["items"], whole)
    if isinstance(names := part.get("additionalProperties"), dict):
        yield from _maps_in(f"{path}.NAME", names, whole)
    for choice in (*part.get("anyOf", ()), *part.get("oneOf", ())):
        yield from _maps_in(path, choice, whole)


def _resolve(part: Schema, whole: Schema) -> Schema:
    """Return a part merged with the definition that its `$ref` names. Its own keys win."""
    if "$ref" not in part:
        return part
    name = part["$ref"].removeprefix("#/$defs/")
    return {**_resolve(whole["$defs"][name], whole), **part}


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
    """Return what a value may be, in words: its title if it has one. Raises ValueError if nothing says it."""
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
    """Return whether an example is a plain value, not a map, whose keys have their own examples."""
    return not isinstance(value, dict) and not (isinstance(value, list) and isinstance(value[0], dict))


def _yaml(value: object) -> str:
    """Return a value as a user writes it in the file."""
    return json.dumps(value).replace('"', "")
