"""Advice for a value that the schema forbids: what was probably meant, and how to write it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from mcrelay.config.device_names import suggest_device
from mcrelay.config.durations import suggest_duration
from mcrelay.config.problems import format_value
from mcrelay.config.reader import Data
from mcrelay.config.scalars import YAML_1_1_BOOLEANS
from mcrelay.config.schema import schema
from mcrelay.model.suggestions import did_you_mean

_NO_BREAK_SPACE = "\u00a0"
_QUAD = r"[0-9]+(?:\.[0-9]+){3}"
_INSTEAD_OF_AN_ADDRESS = (
    (r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", "; each number is 0 to 255, without leading zeros"),
    (rf"{_QUAD}:([0-9]+)", r"; write the port as `port: \1`"),
    (rf"{_QUAD}/.*", "; write one address, without a prefix length"),
    (rf"{_QUAD} ?-.*", "; write one address, ranges are not supported yet"),
    (r"[0-9a-fA-F]*:[0-9a-fA-F:.]+", "; IPv6 is not supported yet"),
    (r"preserve", "; `preserve` is not supported yet"),
    (r"[A-Za-z].*", "; write an address, names of hosts are not resolved"),
)
_RANGES = "; write a rule for each port, ranges and lists are not supported yet"


def suggest_value(value: Data, wanted: Mapping[str, Any]) -> str:
    """Return the end of a message about a value; `wanted` is the part of the schema that forbids it."""
    if isinstance(value, str) and _NO_BREAK_SPACE in value:
        return "; it has a no-break space (U+00A0), write a plain one"
    if suggest := _by_pattern().get(wanted.get("pattern", "")):
        return suggest(value)
    choices = [choice for choice in wanted.get("anyOf", ()) if "required" not in choice] or [wanted]
    types = {kind for choice in choices for kind in _as_list(choice.get("type"))}
    match value:
        case dict() if "array" in types:
            return "; put it into a list: write `- ` before it"
        case list() if "object" in types and wanted.get("additionalProperties") and value:
            return "; write `NAME:` instead of each `- `"
        case list() if wanted["title"] == _port_title():
            return _RANGES
        case str() if "array" in types:
            return f"; put it into a list: `[{value}]`"
        case str() if "object" in types:
            return _suggest_map(value, wanted.get("properties", {}))
        case str():
            return _suggest_plain(value, choices, types, wanted)
        case int() | float() if types == {"string"} and "enum" not in wanted and "pattern" not in wanted:
            return f'; write it in quotes: `"{format_value(value)}"`'
        case _:
            return ""


def suggest_space(text: str, known: Mapping[str, Any]) -> str:
    """Return advice for a known key and its value without a space between them, else an empty text."""
    key, colon, value = text.partition(":")
    return f"; write a space after the colon: `{key}: {value}`" if colon and key in known else ""


def _suggest_plain(
    value: str, choices: list[Mapping[str, Any]], types: set[str], wanted: Mapping[str, Any]
) -> str:
    """Return advice for a text instead of a word, a number or a boolean."""
    if "boolean" in types and value.lower() in YAML_1_1_BOOLEANS:
        return f"; write `{YAML_1_1_BOOLEANS[value.lower()]}`"
    if ("boolean" in types and value in ("true", "false")) or ("integer" in types and value.isdecimal()):
        return "; write it without quotes"
    if wanted["title"] == _port_title() and re.fullmatch(r"[0-9]+ ?[-,:][-0-9, :]*", value):
        return _RANGES
    words = [choice["const"] for choice in choices if "const" in choice] + wanted.get("enum", [])
    return did_you_mean(value, (word for word in words if isinstance(word, str)))


def _suggest_map(value: str, keys: Mapping[str, Any]) -> str:
    if spaced := suggest_space(value, keys):
        return spaced
    device = keys.get("device")
    return f"; write `{{device: {value}}}`" if device and re.search(device["pattern"], value) else ""


def _suggest_address(value: object) -> str:
    for pattern, advice in _INSTEAD_OF_AN_ADDRESS if isinstance(value, str) else ():
        if found := re.fullmatch(pattern, str(value)):
            return found.expand(advice)
    return ""


@cache
def _by_pattern() -> Mapping[str, Callable[[object], str]]:
    """Return the functions that advise on a text, by the pattern that the schema demands of it."""
    parts = schema()["$defs"]
    return {
        parts["duration"]["pattern"]: suggest_duration,
        parts["interface"]["properties"]["device"]["pattern"]: suggest_device,
        parts["ipv4"]["pattern"]: _suggest_address,
    }


def _port_title() -> str:
    return str(schema()["$defs"]["port"]["title"])


def _as_list(types: str | list[str] | None) -> list[str]:
    return types if isinstance(types, list) else [types] if types else []
