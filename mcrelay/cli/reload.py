"""`mcrelay reload`: asks the daemon for a reload, and waits for the result."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.argument_types import positive_number
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view import problems
from mcrelay.cli.view.status_table import format_names
from mcrelay.cli.view.terminal import YELLOW, format_json, is_colour_wanted, paint
from mcrelay.cli.view.units import format_count
from mcrelay.client import reload_request

JSON_VERSION = 1  # version of the shape of --json
MAX_LINE_NAMES = 8  # rule names shown for each kind of change

HELP = """\
The result is about the files as they were when `mcrelay reload` was called, or later.

With --json, the verb prints one object, which mcrelay-reload(1) and schemas/reload.schema.json describe.

Exit codes: 0 applied or unchanged, 1 no result, 2 usage, 3 no daemon is running, 4 not permitted,
78 rejected: the previous configuration still runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reload`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Reload the configuration, and wait for the result."
    parser.epilog = HELP
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_timeout_argument(parser)
    session.add_arguments(parser)


def add_timeout_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that limits how long a verb waits for the result of a reload."""
    parser.add_argument(
        "--timeout", metavar="SEC", type=positive_number, default=reload_request.RELOAD_TIMEOUT_S,
        help="wait up to SEC seconds for the result (default: %(default)g)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Reload, and print the result."""
    return session.run_with_daemon(_reload, options)


def _reload(options: argparse.Namespace) -> int:
    greeting, result = reload_request.request_reload(session.socket_path(options), options.timeout)
    if options.json:
        print(format_json(build_document(result)))
    else:
        print_result(greeting, result)
    return exit_code(result)


def exit_code(result: Mapping[str, Any]) -> Exit:
    """Return the exit code for the result of a reload."""
    return Exit.INVALID if result["outcome"] == "rejected" else Exit.OK


def print_result(greeting: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Print the result, and which rules do not run."""
    print(*format_result(result, greeting["config"], is_colour_wanted()), sep="\n")


def build_document(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    keys = ("outcome", "at", "generation", "changes", "problems")
    degraded = {"degraded": result.get("degraded", []), "degraded_count": result.get("degraded_count", 0)}
    return {"version": JSON_VERSION, **{key: result[key] for key in keys}, **degraded}


def format_result(result: Mapping[str, Any], file: str, colour: bool) -> Iterator[str]:
    """Yield the result as lines of text."""
    generation = result["generation"]
    match result["outcome"]:
        case "rejected":
            yield from problems.format_reported_problems(result["problems"], result["lines"], colour)
            found = format_count(len(result["problems"]), "problem")
            yield f"{file}: {found}: rejected, generation {generation} still runs"
        case "unchanged":
            yield f"{file}: unchanged, generation {generation} still runs"
        case outcome:
            yield f"{file}: {outcome.replace('_', ' ')}, generation {generation}"
            yield from format_changes(result["changes"])
    yield from format_degraded(result, colour)


def format_changes(changes: Mapping[str, Any]) -> Iterator[str]:
    """Yield the numbers of added, changed, removed and kept rules, with the first names, and the settings."""
    for word in ("added", "changed", "removed"):
        if names := changes[word]:
            count = format_count(changes[f"{word}_count"], "rule")
            yield f"  {word:<9}{count}: {format_names(names, MAX_LINE_NAMES)}"
    yield f"  {'kept':<9}{format_count(changes['kept'], 'rule')}"
    yield from (f"  {'setting':<9}{text}" for text in changes.get("settings", ()))


def format_degraded(result: Mapping[str, Any], colour: bool) -> Iterator[str]:
    """Yield the lines about the rules that do not run, or run in part. Older daemons report none."""
    yield from (f"  {paint(line, YELLOW, colour)}" for line in result.get("degraded_lines", ()))
