"""What is wrong with a configuration: where, what, and the line to show it on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Key = str | int
Path = tuple[Key, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,63}")


@dataclass(frozen=True, slots=True, order=True)
class SourceLocation:
    """A place in a file, counted from 1; line 0 is the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong, where in the file and where in the configuration; `text` is the line of the file."""

    where: SourceLocation
    path: str
    message: str
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.message}" if self.path else f"{self.where}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        """Return the documented shape."""
        where = {"file": self.where.file, "line": self.where.line, "column": self.where.column}
        return {**where, "path": self.path, "message": self.message}

    def excerpt(self, width: int = 100) -> list[str]:
        """Return the line, cut to `width` around the place, and a caret below it."""
        if not self.where.line:
            return []
        start = max(0, self.where.column - width * 3 // 4)
        line = "".join(
            c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in self.text[start:][:width]
        )
        return [line, " " * (self.where.column - 1 - start) + "^"]


class ConfigError(Exception):
    """A configuration that cannot be used, and all that is wrong with it, sorted by position."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))

    def lines(self) -> list[str]:
        """Return every problem, each followed by the line it is in and a caret."""
        return [line for problem in self.problems for line in (str(problem), *problem.excerpt())]


def dotted(path: Path) -> str:
    """Return a path as a user writes it: `rules.mdns.outputs[0].port`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key if _PLAIN_KEY.fullmatch(key) else shown(key)}"
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, and short."""
    match value:
        case dict():
            return "a map"
        case list():
            return "a list" if value else "an empty list"
        case str():
            return json.dumps(value if len(value) <= 40 else value[:37] + "...", ensure_ascii=False)
        case _:
            return json.dumps(value)
