"""`mcrelay list`: lists the rules with their states and the lines that define them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.status_table import colour_state
from mcrelay.cli.view.table import align
from mcrelay.cli.view.terminal import BOLD, format_json, is_colour_wanted, paint, to_one_line

HELP = """\
With --json, the verb prints one object, which mcrelay-list(1) and schemas/list.schema.json describe.

Exit codes: 0 listed, 1 no answer, 2 usage, 3 no daemon is running, 4 not permitted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `list`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    session.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """List the rules."""
    return session.run_with_daemon(_list, options)


def _list(options: argparse.Namespace) -> int:
    with session.connect_to_daemon(options) as client:
        document = client.call("list")
    for line in (
        [format_json(document)] if options.json else format_list(document["rules"], is_colour_wanted())
    ):
        print(line)
    return Exit.OK


def format_list(rules: Sequence[Mapping[str, Any]], colour: bool) -> Iterator[str]:
    """Yield a line for each rule: name, state, file:line, and the reason, the hint or the description."""
    if not rules:
        yield "no rules"
        return
    rows = [
        ("RULE", "STATE", "FILE"),
        *((rule["name"], rule["state"], _format_location(rule)) for rule in rules),
    ]
    headings, *lines = align(rows, "<<<")
    yield paint(headings, BOLD, colour)
    for rule, line in zip(rules, lines, strict=True):
        text = f"{line}  {rule['reason'] or rule['hint'] or to_one_line(rule['description'])}".rstrip()
        yield colour_state(text, rule["state"]) if colour else text


def _format_location(rule: Mapping[str, Any]) -> str:
    return f"{rule['file']}:{rule['line']}"
