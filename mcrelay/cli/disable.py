"""`mcrelay disable`: lets a rule rest, without forgetting it."""

from __future__ import annotations

import argparse

from mcrelay.cli import switch


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disable`."""
    parser.description = (
        "Write `enabled: false` into the drop-in file of a rule, reload, and wait for the verdict."
    )
    switch.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Disable the rule."""
    return switch.run(options, enabled=False)
