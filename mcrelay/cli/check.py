"""`mcrelay check`: lists every problem of a configuration; needs no daemon and no privilege."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any

from mcrelay.cli import config_option, session
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view import problems
from mcrelay.cli.view.terminal import is_colour_wanted
from mcrelay.cli.view.units import format_count
from mcrelay.config.model import Config
from mcrelay.config.problems import ConfigError, Problem
from mcrelay.storage import config_files

JSON_VERSION = 1  # version of the shape of --json

ELSEWHERE = "for the devices and routes of this host, see `mcrelay plan`"

HELP = """\
A valid file may still ask for a device, an address or a route that this host lacks: `mcrelay plan` says so.

With --json, the verb prints one object, which mcrelay-check(1) and schemas/check.schema.json describe.

Exit codes: 0 valid, 2 usage, 78 invalid."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Check a configuration and its drop-in directory, and list every problem."
    parser.epilog = HELP
    config_option.add_arguments(parser)
    session.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Check the files and print their problems."""
    file = config_option.find_file(options)
    try:
        result = CheckResult(
            file, (), config_files.compile_contents(config_option.read_contents(options, file))
        )
    except ConfigError as invalid:
        result = CheckResult(file, invalid.problems)
    print(json.dumps(result.as_json(), indent=2) if options.json else result.as_text(is_colour_wanted()))
    return Exit.INVALID if result.problems else Exit.OK


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check: problems, or a valid configuration."""

    file: str
    problems: tuple[Problem, ...]
    config: Config | None = None

    @property
    def _warnings(self) -> tuple[Problem, ...]:
        return self.config.warnings if self.config else ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "version": JSON_VERSION,
            "file": self.file,
            "valid": not self.problems,
            "rules": len(self.config.rules) if self.config else None,
            "interfaces": len(self.config.interfaces) if self.config else None,
            "problems": [problem.as_json() for problem in self.problems],
            "warnings": [warning.as_json() for warning in self._warnings],
        }

    def as_text(self, colour: bool) -> str:
        """Return every problem with its line and a caret, and a summary as the last line."""
        errors = problems.format_problems(self.problems, colour)
        warnings = problems.format_warnings(self._warnings, colour)
        return "\n".join([*errors, *warnings, self._summary()])

    def _summary(self) -> str:
        if self.config is None:
            return f"{self.file}: {format_count(len(self.problems), 'problem')}"
        rules, interfaces = len(self.config.rules), len(self.config.interfaces)
        counts = f"{format_count(rules, 'rule')}, {format_count(interfaces, 'interface')}"
        warnings = f", {format_count(len(self._warnings), 'warning')}" if self._warnings else ""
        return f"{self.file}: ok, {counts}{warnings}; {ELSEWHERE}"
