"""`mcrelay stats`: what came in, what went out, and what was not relayed, in full numbers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.table import GAP, aligned
from mcrelay.cli.view.terminal import BOLD, as_json, colour_wanted, painted
from mcrelay.cli.view.units import not_relayed, short

Part = Mapping[str, Any]

HELP = """\
With --json, one object: version (of this shape, 1), time, rules: a list of {name, in and out: {packets,
octets}, drops: {reason: how many}, packets_per_second, bits_per_second (of what came in)}, and interfaces:
the same without `out`. Octets are those of the payload; counts never go back while the daemon runs.

Exit codes: 0 told, 1 no answer, 2 usage, 3 mcrelay does not run, 4 not permitted."""

HEADS = ("RULE", "IN packets", "octets", "packets/s", "bit/s", "OUT packets", "octets", "DROPS")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `stats`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("rule", nargs="?", metavar="RULE", help="only this rule")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    session.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Show the counters."""
    return session.answering(_stats, options)


def _stats(options: argparse.Namespace) -> int:
    params = {"rule": options.rule} if options.rule is not None else {}
    with session.connected(options) as client:
        document = client.call("stats", **params)
    for line in [as_json(document)] if options.json else table(document, colour_wanted()):
        print(line)
    return Exit.OK


def table(document: Part, colour: bool) -> Iterator[str]:
    """Yield a line for each rule, with the reasons for which packets were not relayed below it."""
    rules = document["rules"]
    if not rules:
        yield "no rules"
        return
    heads, *lines = aligned([HEADS, *map(_row, rules)], "<>>>>>>>")
    yield painted(heads, BOLD, colour)
    for rule, line in zip(rules, lines, strict=True):
        yield line
        if drops := not_relayed(rule["drops"]):
            yield GAP + drops


def _row(rule: Part) -> tuple[str, ...]:
    taken, sent = rule["in"], rule["out"]
    return (
        rule["name"],
        f"{taken['packets']:,}",
        f"{taken['octets']:,}",
        short(rule["packets_per_second"]),
        short(rule["bits_per_second"]),
        f"{sent['packets']:,}",
        f"{sent['octets']:,}",
        f"{sum(rule['drops'].values()):,}",
    )
