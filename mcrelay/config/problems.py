"""The problems of a configuration, with their messages and their locations in the files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mcrelay.model.printable import make_printable

Key = str | int
Path = tuple[Key, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,63}")


@dataclass(frozen=True, slots=True, order=True)
class SourceLocation:
    """A line and column of a file, counted from 1. Line 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A message about a location in a file and a path in the configuration. `text` is the line there."""

    where: SourceLocation
    path: str
    message: str
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.message}" if self.path else f"{self.where}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        """Return the object that `mcrelay check --json` prints for the problem."""
        where = {"file": self.where.file, "line": self.where.line, "column": self.where.column}
        return {**where, "path": self.path, "message": self.message}

    def excerpt(self, width: int = 100) -> list[str]:
        """Return the line, cut to `width` characters around the column, and a line with a caret below it."""
        if not self.where.line:
            return []
        start = max(0, self.where.column - width * 3 // 4)
        line = make_printable(self.text[start : start + width].replace("\t", " "))
        return [line, " " * (self.where.column - 1 - start) + "^"]


class ConfigError(Exception):
    """A configuration is invalid. `problems` has all its problems, sorted by location."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))

    def lines(self) -> list[str]:
        """Return the text of all problems as lines. The excerpt of a problem follows its message."""
        return [line for problem in self.problems for line in (str(problem), *problem.excerpt())]


def format_path(path: Path) -> str:
    """Return a path as text, such as `rules.mdns.outputs[0].port`."""
    text = ""
    for key in path:
        text += (
            f"[{key}]"
            if isinstance(key, int)
            else f".{key if _PLAIN_KEY.fullmatch(key) else format_value(key)}"
        )
    return text.removeprefix(".")


def format_value(value: object) -> str:
    """Return a short text of one line for a value."""
    match value:
        case dict():
            return "a map"
        case list():
            return "a list" if value else "an empty list"
        case str():
            return json.dumps(value if len(value) <= 40 else value[:37] + "...", ensure_ascii=False)
        case _:
            return json.dumps(value)
