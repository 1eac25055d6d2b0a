"""`mcrelay status`: shows all rules, interfaces and processes, or one rule in detail."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.rates import add_rates
from mcrelay.cli.view.refresh import refresh
from mcrelay.cli.view.rule_detail import format_rule
from mcrelay.cli.view.status_table import format_status
from mcrelay.cli.view.terminal import format_json, is_colour_wanted
from mcrelay.cli.view.units import format_count
from mcrelay.client.connection import NoAnswer
from mcrelay.model.suggestions import list_words
from mcrelay.reload.degraded import is_degraded
from mcrelay.reload.files_on_disk import has_changes

Part = Mapping[str, Any]  # a part of the status document, which schemas/status.schema.json describes

MIN_INTERVAL_S = 0.1  # shortest interval of --watch: the daemon does not measure its rates more often

HELP = """\
`--exit-code` exits with 5 if an enabled rule does not run, or runs in part (an output or a worker is missing,
a device is down), or had a send error during the last seconds; if the last reload rejected the file, or a
trial was rolled back; if the files on disk are invalid, or a reload would change a rule or a setting; if a
process died and waits to be restarted; or if the daemon listens but does not answer. With RULE, only that
rule is considered.

With --json, the verb prints one object, which mcrelay-control(7) and schemas/status.schema.json describe;
with --watch, one object a line.

Exit codes: 0 shown, 1 no answer, 2 usage, 3 no daemon is running, 4 not permitted, 5 see --exit-code."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `status`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument(
        "rule", nargs="?", metavar="RULE", help="show this rule in detail, and explain its drops"
    )
    parser.add_argument(
        "--watch",
        metavar="SEC",
        nargs="?",
        type=_parse_seconds,
        const=1.0,
        help="refresh every SEC seconds (default: 1), until Ctrl-C",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--exit-code", action="store_true", help="exit with 5 if something is degraded")
    session.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Show the status once, or until Ctrl-C."""
    return session.run_with_daemon(_show_repeatedly if options.watch else _show_once, options)


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds; give RULE before --watch"
        ) from None
    if not MIN_INTERVAL_S <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between {MIN_INTERVAL_S:g} and 86400 seconds")
    return seconds


def _show_once(options: argparse.Namespace) -> int:
    try:
        document = _fetch_status(options)
    except NoAnswer as error:
        if not options.exit_code:
            raise
        print(f"mcrelay: degraded: {error}", file=sys.stderr)
        return Exit.DEGRADED
    print(*_format(document, options), sep="\n")
    if options.exit_code and (found := list(find_troubles(document))):
        print(f"mcrelay: degraded: {'; '.join(found)}", file=sys.stderr)
        return Exit.DEGRADED
    return Exit.OK


def _show_repeatedly(options: argparse.Namespace) -> int:
    last: list[dict[str, Any]] = []

    def ask() -> Sequence[str]:
        document = _fetch_status(options)
        if last:
            add_rates(last.pop(), document)
        last.append(document)
        return _format(document, options)

    refresh(ask, options.watch)
    return Exit.OK


def _fetch_status(options: argparse.Namespace) -> dict[str, Any]:
    params = {"rule": options.rule} if options.rule is not None else {}
    with session.connect_to_daemon(options) as client:
        document: dict[str, Any] = client.call("status", **params)
    gc.freeze()  # keeps the garbage collector from scanning the large document many times
    return document


def _format(document: dict[str, Any], options: argparse.Namespace) -> Sequence[str]:
    if options.json:
        return [format_json(document)]
    if options.rule is None:
        return list(format_status(document, is_colour_wanted()))
    interfaces = {interface["name"]: interface for interface in document["interfaces"]}
    return [line for rule in document["rules"] for line in format_rule(rule, interfaces, is_colour_wanted())]


def find_troubles(document: Part) -> Iterator[str]:
    """Yield a phrase for each problem: degraded rules, a file that does not run, a process that died."""
    if degraded := [rule["name"] for rule in document["rules"] if is_degraded(rule["state"], rule["reason"])]:
        yield f"{format_count(len(degraded), 'rule')} not running, or only in part: {list_words(degraded)}"
    if document["reload"]["outcome"] == "rejected" and document.get("files", {}).get("state") != "running":
        yield "the last reload rejected the file"
    if document["reload"]["outcome"] == "rolled_back":
        yield "the file was rolled back: the last confirmed configuration runs"
    yield from _find_file_troubles(document)
    if lost := [process["name"] for process in document["processes"] if process["state"] == "pausing"]:
        yield f"died, and not restarted yet: {list_words(lost)}"


def _find_file_troubles(document: Part) -> Iterator[str]:
    """Yield a phrase if files that the last reload was not about would be refused or change something."""
    files, outcome = document.get("files", {}), document["reload"]["outcome"]
    if files.get("state") == "invalid" and outcome != "rejected":
        yield "the files on disk are invalid: a reload or a restart would refuse them"
    if files.get("state") == "differ" and outcome != "rolled_back" and has_changes(files):
        yield "the files differ from what runs: `mcrelay reload` applies them"
