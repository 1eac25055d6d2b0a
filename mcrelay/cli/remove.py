"""`mcrelay remove`: deletes the drop-in file of a rule, and reloads."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcrelay.cli import edit
from mcrelay.cli.edit import Change, EditRefused
from mcrelay.config.drop_in import has_only_rule
from mcrelay.model.suggestions import did_you_mean
from mcrelay.storage.config_tree import ConfigTree

HELP = f"""\
The file is deleted only if it is in the drop-in directory and holds only this rule. If the rule is defined
elsewhere, the verb says where, and changes nothing. If the rule does not exist, the verb succeeds.

{edit.EXIT_CODES}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `remove`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Delete the drop-in file of a rule, reload, and wait for the result."
    parser.epilog = HELP
    parser.add_argument("name", metavar="NAME", help="name of the rule")
    edit.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Remove the rule, if it exists."""
    return edit.run(options, lambda tree: _decide(options.name, tree))


def _decide(name: str, tree: ConfigTree) -> Change:
    holder = tree.holder(name)
    if holder is None:
        return Change(f"there is no rule `{name}`{did_you_mean(name, tree.rule_names())}")
    if not (tree.is_drop_in(holder) and has_only_rule(holder, name)):
        where = holder.where_key("rules", name)
        raise EditRefused(
            f"{where}: `{name}` has no drop-in file of its own: delete it there, then run `mcrelay reload`"
        )
    return Change(f"{name}: removed, {holder.file}", Path(holder.file))
