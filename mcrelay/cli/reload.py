"""`mcrelay reload`: asks for a reload, and waits for the verdict on the file as it stands now."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.argument_types import positive_number
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view import problems
from mcrelay.cli.view.status_table import format_names
from mcrelay.cli.view.terminal import format_json, is_colour_wanted
from mcrelay.cli.view.units import format_count
from mcrelay.client import reload_request

SHAPE = 1  # version of the shape of --json
NAMES = 8  # more names of changed rules than these are a wall

HELP = """\
The verdict is that on the file as it stood when `mcrelay reload` was called, or later.

With --json, one object: version (of this shape, 1), outcome (applied, unchanged or rejected), at (seconds
since 1970), generation, changes: {added, changed, removed: the first 100 names each; added_count,
changed_count, removed_count, kept: how many}, and problems: a list of {file, line, column, path, message}.

Exit codes: 0 applied or unchanged, 1 no verdict, 2 usage, 3 mcrelay does not run, 4 not permitted,
78 rejected: what ran before runs on."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reload`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Reload the configuration, and wait for the verdict."
    parser.epilog = HELP
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    timeout_argument(parser)
    session.arguments(parser)


def timeout_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that limits how long a verb waits for the result of a reload."""
    parser.add_argument(
        "--timeout", metavar="SEC", type=positive_number, default=reload_request.PATIENCE,
        help="how long to wait for the result (default: %(default)g)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Reload, and tell how it ended."""
    return session.run_with_daemon(_reload, options)


def _reload(options: argparse.Namespace) -> int:
    greeting, verdict = reload_request.request_reload(session.socket_path(options), options.timeout)
    if options.json:
        print(format_json(shape(verdict)))
    else:
        tell(greeting, verdict, options)
    return code(verdict)


def code(verdict: Mapping[str, Any]) -> Exit:
    """Return the exit code that a verdict stands for."""
    return Exit.INVALID if verdict["outcome"] == "rejected" else Exit.OK


def tell(greeting: Mapping[str, Any], verdict: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print the verdict, and which rules of what it changed do not run: an applied file is not all."""
    print(*told(verdict, greeting["config"], is_colour_wanted()), sep="\n")
    names = {*verdict["changes"].get("added", ()), *verdict["changes"].get("changed", ())}
    if names:
        _, listed = reload_request.call_with_retry(session.socket_path(options), "list", options.timeout)
        for rule in listed["rules"]:
            if rule["name"] in names and rule["reason"]:
                print(f"  {rule['name']} is {rule['state']}: {rule['reason']}")


def shape(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--json` prints."""
    keys = ("outcome", "at", "generation", "changes", "problems")
    return {"version": SHAPE, **{key: verdict[key] for key in keys}}


def told(verdict: Mapping[str, Any], file: str, colour: bool) -> Iterator[str]:
    """Yield the verdict as text."""
    generation = verdict["generation"]
    match verdict["outcome"]:
        case "rejected":
            yield from problems.format_reported_problems(verdict["problems"], verdict["lines"], colour)
            found = format_count(len(verdict["problems"]), "problem")
            yield f"{file}: {found}: rejected, generation {generation} runs on"
        case "unchanged":
            yield f"{file}: unchanged, generation {generation} runs on"
        case outcome:
            yield f"{file}: {outcome.replace('_', ' ')}, generation {generation}"
            yield from changed(verdict["changes"])


def changed(changes: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many rules were added, changed, removed and kept, with the names of a few."""
    for word in ("added", "changed", "removed"):
        if names := changes[word]:
            yield f"  {word:<9}{format_count(changes[f'{word}_count'], 'rule')}: {format_names(names, NAMES)}"
    yield f"  {'kept':<9}{format_count(changes['kept'], 'rule')}"
