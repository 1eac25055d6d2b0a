"""`mcrelay enable`: lets a disabled rule run."""

from __future__ import annotations

import argparse

from mcrelay.cli import switch


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `enable`."""
    parser.description = (
        "Write `enabled: true` into the drop-in file of a rule, reload, and wait for the verdict."
    )
    switch.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Enable the rule."""
    return switch.run(options, enabled=True)
