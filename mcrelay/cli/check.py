"""`mcrelay check`: everything that is wrong with a configuration, found without a daemon or privilege."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mcrelay.cli.exits import Exit
from mcrelay.config import Config, compiled
from mcrelay.problem import Invalid, Problem
from mcrelay.source import parse_all
from mcrelay.supervisor import files

SHAPE = 1  # version of the shape of --json

BOLD, RED, YELLOW, PLAIN = "\033[1m", "\033[31m", "\033[33m", "\033[0m"

JSON_HELP = """\
With --json, one object: version (of this shape, 1), file, valid, rules and interfaces (how many; null where
the configuration is invalid), problems and warnings: lists of {file, line, column, path, message}, where line
and column count from 1 and are 0 for a file as a whole.

Exit codes: 0 valid, 78 invalid."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Tell everything that is wrong with a configuration and its drop-in folder."
    parser.epilog = JSON_HELP
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "file", nargs="?", metavar="FILE", help=f"default {files.DEFAULT}; - is standard input"
    )
    either.add_argument("-c", "--config", metavar="FILE", help="the same")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Check the file and print what is wrong with it."""
    file = next((file for file in (options.file, options.config) if file is not None), str(files.DEFAULT))
    try:
        contents = files.read_standard_input() if file == "-" else files.read(file)
        verdict = Verdict(file, (), compiled(parse_all(contents)))
    except Invalid as invalid:
        verdict = Verdict(file, invalid.problems)
    print(json.dumps(verdict.as_json(), indent=2) if options.json else verdict.as_text(_colour_wanted()))
    return Exit.INVALID if verdict.problems else Exit.OK


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `check` found: problems, or a config."""

    file: str
    problems: tuple[Problem, ...]
    config: Config | None = None

    @property
    def _warnings(self) -> tuple[Problem, ...]:
        return self.config.warnings if self.config else ()

    def as_json(self) -> dict[str, Any]:
        """Return the documented shape."""
        return {
            "version": SHAPE,
            "file": self.file,
            "valid": not self.problems,
            "rules": len(self.config.rules) if self.config else None,
            "interfaces": len(self.config.interfaces) if self.config else None,
            "problems": [_as_json(problem) for problem in self.problems],
            "warnings": [_as_json(warning) for warning in self._warnings],
        }

    def as_text(self, colour: bool) -> str:
        """Return every problem with its line and a caret, and a last line that sums up."""
        lines = [line for problem in self.problems for line in _as_text(problem, "", RED, colour)]
        lines += [
            line for warning in self._warnings for line in _as_text(warning, "warning: ", YELLOW, colour)
        ]
        return "\n".join([*lines, self._sum()])

    def _sum(self) -> str:
        if self.config is None:
            return f"{self.file}: {_counted(len(self.problems), 'problem')}"
        rules, interfaces = len(self.config.rules), len(self.config.interfaces)
        counts = f"{_counted(rules, 'rule')}, {_counted(interfaces, 'interface')}"
        warnings = f", {_counted(len(self._warnings), 'warning')}" if self._warnings else ""
        return f"{self.file}: ok, {counts}{warnings}"


def _as_json(problem: Problem) -> dict[str, Any]:
    where = problem.where
    return {
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "path": problem.path,
        "message": problem.message,
    }


def _as_text(problem: Problem, kind: str, accent: str, colour: bool) -> Iterable[str]:
    where, path = str(problem.where), f"{problem.path}: " if problem.path else ""
    if not colour:
        yield f"{where}: {path}{kind}{problem.message}"
        yield from problem.excerpt()
        return
    yield f"{BOLD}{where}:{PLAIN} {path}{accent}{kind}{problem.message}{PLAIN}"
    for line in problem.excerpt():
        yield line.replace("^", f"{accent}^{PLAIN}") if line.endswith("^") else line


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _colour_wanted() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
