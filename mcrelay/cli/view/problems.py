"""What is wrong with a configuration, as every verb tells it: in text for people, as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mcrelay.cli.view.terminal import BOLD, RED, YELLOW, paint
from mcrelay.config.problems import Problem, SourceLocation


def format_problems(problems: Iterable[Problem], colour: bool) -> Iterator[str]:
    """Yield each problem with the line that it is in and a caret below."""
    for problem in problems:
        yield _head(problem, "", RED, colour)
        yield from (_excerpt(line, RED, colour) for line in problem.excerpt())


def format_warnings(warnings: Iterable[Problem], colour: bool) -> Iterator[str]:
    """Yield what deserves a look, though it works."""
    for warning in warnings:
        yield _head(warning, "warning: ", YELLOW, colour)
        yield from (_excerpt(line, YELLOW, colour) for line in warning.excerpt())


def format_reported_problems(
    problems: Iterable[Mapping[str, Any]], lines: Iterable[str], colour: bool
) -> Iterator[str]:
    """Yield the lines in which a daemon told its problems, as if they had been found here."""
    found = {str(problem): problem for problem in map(_from_json, problems)}
    for line in lines:
        yield _head(found[line], "", RED, colour) if line in found else _excerpt(line, RED, colour)


def _from_json(told: Mapping[str, Any]) -> Problem:
    return Problem(SourceLocation(told["file"], told["line"], told["column"]), told["path"], told["message"])


def _head(problem: Problem, kind: str, accent: str, colour: bool) -> str:
    where, path = paint(f"{problem.where}:", BOLD, colour), f"{problem.path}: " if problem.path else ""
    return f"{where} {path}{paint(f'{kind}{problem.message}', accent, colour)}"


def _excerpt(line: str, accent: str, colour: bool) -> str:
    return line.removesuffix("^") + paint("^", accent, colour) if line.endswith("^") else line
