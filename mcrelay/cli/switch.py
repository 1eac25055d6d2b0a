"""What `mcrelay enable` and `mcrelay disable` do: change one word of a rule's drop-in file."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcrelay.cli import edit
from mcrelay.cli.edit import Change, Refused
from mcrelay.config.drop_in import CannotSwitch, holds_only, switched
from mcrelay.model.suggestions import did_you_mean
from mcrelay.storage.config_tree import ConfigTree

HELP = f"""\
Only a file of the drop-in folder that holds this rule and nothing else is changed, and of it nothing but the
value of `enabled`. Of a rule that stands elsewhere, it tells where, and changes nothing.

{edit.EXIT_CODES}"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("name", metavar="NAME", help="the rule")
    edit.arguments(parser)


def run(options: argparse.Namespace, enabled: bool) -> int:
    """Let the rule run, or let it rest."""
    return edit.run(options, lambda standing: _decided(options.name, enabled, standing))


def _decided(name: str, enabled: bool, standing: ConfigTree) -> Change:
    holder = standing.holder(name)
    if holder is None:
        raise Refused(f"no rule is named `{name}`{did_you_mean(name, standing.names())}")
    where = holder.where_key("rules", name)
    if standing.rule(name, holder).enabled is enabled:
        return Change(f"{name}: unchanged, {where}")
    word, done = ("true", "enabled") if enabled else ("false", "disabled")
    by_hand = f"write `enabled: {word}` there, then `mcrelay reload`"
    if not (standing.is_drop_in(holder) and holds_only(holder, name)):
        raise Refused(f"{where}: `{name}` has no drop-in of its own: {by_hand}")
    try:
        return Change(f"{name}: {done}, {holder.file}", Path(holder.file), switched(holder, name, enabled))
    except CannotSwitch:
        raise Refused(f"{where}: this is written in an unusual way: {by_hand}") from None
