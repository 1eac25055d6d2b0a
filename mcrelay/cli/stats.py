"""`mcrelay stats`: shows the counters of packets received, sent and dropped, in full numbers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.table import Column, align_columns, make_rows, wrap_note
from mcrelay.cli.view.terminal import BOLD, format_json, is_colour_wanted, paint
from mcrelay.cli.view.units import format_drops, format_number

Part = Mapping[str, Any]

HELP = """\
With --json, the verb prints one object, which mcrelay-stats(1) and schemas/stats.schema.json describe.

Exit codes: 0 shown, 1 no answer, 2 usage, 3 no daemon is running, 4 not permitted."""

COLUMNS = (
    Column("RULE", "<", itemgetter("name")),
    Column("IN packets", ">", lambda rule: f"{rule['in']['packets']:,}"),
    Column("bytes", ">", lambda rule: f"{rule['in']['octets']:,}"),
    Column("packets/s", ">", lambda rule: format_number(rule["packets_per_second"])),
    Column("bit/s", ">", lambda rule: format_number(rule["bits_per_second"])),
    Column("OUT packets", ">", lambda rule: f"{rule['out']['packets']:,}"),
    Column("bytes", ">", lambda rule: f"{rule['out']['octets']:,}"),
    Column("DROPS", ">", lambda rule: f"{sum(rule['drops'].values()):,}"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `stats`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("rule", nargs="?", metavar="RULE", help="show this rule only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    session.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Show the counters."""
    return session.run_with_daemon(_stats, options)


def _stats(options: argparse.Namespace) -> int:
    params = {"rule": options.rule} if options.rule is not None else {}
    with session.connect_to_daemon(options) as client:
        document = client.call("stats", **params)
    for line in [format_json(document)] if options.json else format_stats(document, is_colour_wanted()):
        print(line)
    return Exit.OK


def format_stats(document: Part, colour: bool) -> Iterator[str]:
    """Yield a line for each rule, and below it its reason and the reasons for dropped packets."""
    rules = document["rules"]
    if not rules:
        yield "no rules"
        return
    headings, *lines = align_columns(COLUMNS, make_rows(COLUMNS, rules))
    yield paint(headings, BOLD, colour)
    for rule, line in zip(rules, lines, strict=True):
        yield line
        yield from wrap_note(rule["reason"])
        yield from wrap_note(format_drops(rule["drops"]))
