"""A drop-in that holds one rule: its text, and the one word of it that `enable` and `disable` change."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import Data, Source, parse
from mcrelay.config.scalars import resolved

HEAD = "# Written by `mcrelay add`. Edit it as you like; `mcrelay remove` deletes the file."

# What no reader of YAML takes for anything but text: an address, or words that begin with a letter.
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+){3}|[A-Za-z][A-Za-z0-9_.-]*( [A-Za-z0-9_.()-]+)*")
_YAML_1_1_BOOLEANS = frozenset(("y", "n", "yes", "no", "on", "off"))
_WORD = re.compile(r"[A-Za-z]*")


class CannotSwitch(Exception):
    """A file is written in such a way that only its author should change it."""


def written(name: str, rule: Mapping[str, Data]) -> str:
    """Return a file with this rule: a line for each of its keys, and one for each output."""
    lines = [HEAD, "", "rules:", f"  {_inline(name)}:"]
    for key, value in rule.items():
        if key == "outputs":
            lines += ["    outputs:", *(f"      - {_inline(output)}" for output in value)]
        else:
            lines.append(f"    {key}: {_inline(value)}")
    return "\n".join(lines) + "\n"


def _inline(value: Data) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_inline(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case str() if _PLAIN.fullmatch(value) and value.lower() not in _YAML_1_1_BOOLEANS:
            return value if resolved(value) == value else json.dumps(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def is_by_add(source: Source) -> bool:
    """Tell whether a file was written by `written`, whatever was made of it since."""
    return source.text.text.startswith(HEAD)


def holds_only(source: Source, name: str) -> bool:
    """Tell whether a file holds this rule, and nothing else that would be missed."""
    data = source.data
    if not isinstance(data, dict) or not data.keys() <= {"version", "rules"}:
        return False
    rules = data.get("rules")
    return isinstance(rules, dict) and [*rules] == [name]


def switched(source: Source, name: str, enabled: bool) -> str:
    """Return the text of a file in which the rule is enabled or not, and all else stands as it stood."""
    text = _with_word(source, name, "true" if enabled else "false")
    rules = source.data["rules"]
    wanted = {**source.data, "rules": {**rules, name: {**rules[name], "enabled": enabled}}}
    try:
        is_right = parse(text.encode(), source.file).data == wanted
    except ConfigError:
        is_right = False
    if not is_right:
        raise CannotSwitch
    return text


def _with_word(source: Source, name: str, word: str) -> str:
    keys, text = source.data["rules"][name], source.text.text
    if "enabled" in keys:
        offset = source.place_of(("rules", name, "enabled")).value
        return text[:offset] + _WORD.sub(word, text[offset:], count=1)
    first = min(source.place_of(("rules", name, key)).key for key in keys)
    is_in_braces = text[source.place_of(("rules", name)).value] == "{"
    gap = ", " if is_in_braces else _next_line(text, source.text.where(first).column)
    return f"{text[:first]}enabled: {word}{gap}{text[first:]}"


def _next_line(text: str, column: int) -> str:
    return ("\r\n" if "\r\n" in text else "\n") + " " * (column - 1)
