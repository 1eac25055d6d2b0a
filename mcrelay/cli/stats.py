"""`mcrelay stats`: shows the counters of packets received, sent and dropped, in full numbers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.table import GAP, align
from mcrelay.cli.view.terminal import BOLD, format_json, is_colour_wanted, paint
from mcrelay.cli.view.units import format_drops, format_number

Part = Mapping[str, Any]

HELP = """\
With --json, one object, described in mcrelay-stats(1) and schemas/stats.schema.json.

Exit codes: 0 shown, 1 no answer, 2 usage, 3 no daemon is running, 4 not permitted."""

HEADS = ("RULE", "IN packets", "bytes", "packets/s", "bit/s", "OUT packets", "bytes", "DROPS")


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
    """Yield a line for each rule, and below it why packets were not relayed."""
    rules = document["rules"]
    if not rules:
        yield "no rules"
        return
    heads, *lines = align([HEADS, *map(_row, rules)], "<>>>>>>>")
    yield paint(heads, BOLD, colour)
    for rule, line in zip(rules, lines, strict=True):
        yield line
        if drops := format_drops(rule["drops"]):
            yield GAP + drops


def _row(rule: Part) -> tuple[str, ...]:
    received, sent = rule["in"], rule["out"]
    return (
        rule["name"],
        f"{received['packets']:,}",
        f"{received['octets']:,}",
        format_number(rule["packets_per_second"]),
        format_number(rule["bits_per_second"]),
        f"{sent['packets']:,}",
        f"{sent['octets']:,}",
        f"{sum(rule['drops'].values()):,}",
    )
