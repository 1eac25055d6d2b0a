"""The text of a drop-in file with one rule, and its change by `mcrelay enable` and `mcrelay disable`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import Data, Source, parse
from mcrelay.config.scalars import YAML_1_1_BOOLEANS, resolve_scalar

HEAD = "# Written by `mcrelay add`. Edit it as you like; `mcrelay remove` deletes the file."

# Every YAML reader takes these for text, even without quotes: an address, or words that begin with a letter.
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+){3}|[A-Za-z][A-Za-z0-9_.-]*( [A-Za-z0-9_.()-]+)*")
_WORD = re.compile(r"[A-Za-z]*")


class UnusualStyleError(Exception):
    """`set_enabled` cannot change a file safely because of its style."""


def format_drop_in(name: str, rule: Mapping[str, Data]) -> str:
    """Return the text of a file with one rule. Each key of the rule and each output has its own line."""
    lines = [HEAD, "", "rules:", f"  {_format_inline(name)}:"]
    for key, value in rule.items():
        if key == "outputs":
            lines += ["    outputs:", *(f"      - {_format_inline(output)}" for output in value)]
        else:
            lines.append(f"    {key}: {_format_inline(value)}")
    return "\n".join(lines) + "\n"


def _format_inline(value: Data) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_format_inline(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_format_inline, value)) + "]"
        case str() if _PLAIN.fullmatch(value) and value.lower() not in YAML_1_1_BOOLEANS:
            return value if resolve_scalar(value) == value else json.dumps(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def is_written_by_add(source: Source) -> bool:
    """Return whether `mcrelay add` wrote a file. The file may have been edited since."""
    return source.text.text.startswith(HEAD)


def has_only_rule(source: Source, name: str) -> bool:
    """Return whether a file has this rule and nothing else, apart from `version`."""
    data = source.data
    if not isinstance(data, dict) or not data.keys() <= {"version", "rules"}:
        return False
    rules = data.get("rules")
    return isinstance(rules, dict) and [*rules] == [name]


def set_enabled(source: Source, name: str, enabled: bool) -> str:
    """Return the text of a file with a new value of a rule's `enabled`; raises UnusualStyleError.

    The rest of the text stays the same.
    """
    text = _replace_enabled(source, name, "true" if enabled else "false")
    rules = source.data["rules"]
    wanted = {**source.data, "rules": {**rules, name: {**rules[name], "enabled": enabled}}}
    try:
        is_right = parse(text.encode(), source.file).data == wanted
    except ConfigError:
        is_right = False
    if not is_right:
        raise UnusualStyleError
    return text


def _replace_enabled(source: Source, name: str, word: str) -> str:
    keys, text = source.data["rules"][name], source.text.text
    if "enabled" in keys:
        offset = source.position_of(("rules", name, "enabled")).value
        return text[:offset] + _WORD.sub(word, text[offset:], count=1)
    first = min(source.position_of(("rules", name, key)).key for key in keys)
    is_in_braces = text[source.position_of(("rules", name)).value] == "{"
    gap = ", " if is_in_braces else _next_line(text, source.text.where(first).column)
    return f"{text[:first]}enabled: {word}{gap}{text[first:]}"


def _next_line(text: str, column: int) -> str:
    return ("\r\n" if "\r\n" in text else "\n") + " " * (column - 1)
