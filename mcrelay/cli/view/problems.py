"""The problems of a configuration as text, for all verbs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mcrelay.cli.view.terminal import BOLD, RED, YELLOW, paint
from mcrelay.config.problems import Problem, SourceLocation


def format_problems(problems: Iterable[Problem], colour: bool) -> Iterator[str]:
    """Yield each problem, its line of the file, and a caret below."""
    for problem in problems:
        yield _format_head(problem, "", RED, colour)
        yield from (_format_excerpt(line, RED, colour) for line in problem.excerpt())


def format_warnings(warnings: Iterable[Problem], colour: bool) -> Iterator[str]:
    """Yield each warning, its line of the file, and a caret below."""
    for warning in warnings:
        yield _format_head(warning, "warning: ", YELLOW, colour)
        yield from (_format_excerpt(line, YELLOW, colour) for line in warning.excerpt())


def format_reported_problems(
    problems: Iterable[Mapping[str, Any]], lines: Iterable[str], colour: bool
) -> Iterator[str]:
    """Yield the `lines` in which a daemon reported its problems, in the colours of `format_problems`."""
    found = {str(problem): problem for problem in map(_read_problem, problems)}
    for line in lines:
        yield (
            _format_head(found[line], "", RED, colour)
            if line in found
            else _format_excerpt(line, RED, colour)
        )


def format_problem(problem: Mapping[str, Any]) -> str:
    """Return a problem that a daemon reported on one line, `mcrelay.yaml:3:1: rules: ...`."""
    return str(_read_problem(problem))


def _read_problem(problem: Mapping[str, Any]) -> Problem:
    return Problem(
        SourceLocation(problem["file"], problem["line"], problem["column"]),
        problem["path"],
        problem["message"],
    )


def _format_head(problem: Problem, kind: str, accent: str, colour: bool) -> str:
    where, path = paint(f"{problem.where}:", BOLD, colour), f"{problem.path}: " if problem.path else ""
    return f"{where} {path}{paint(f'{kind}{problem.message}', accent, colour)}"


def _format_excerpt(line: str, accent: str, colour: bool) -> str:
    return line.removesuffix("^") + paint("^", accent, colour) if line.endswith("^") else line
