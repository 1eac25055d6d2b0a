"""`mcrelay enable` and `mcrelay disable`: set `enabled` in a rule's drop-in file, and reload."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcrelay.cli import edit
from mcrelay.cli.edit import Change, EditRefused
from mcrelay.config.drop_in import UnusualStyleError, has_only_rule, set_enabled
from mcrelay.model.suggestions import did_you_mean
from mcrelay.storage.config_tree import ConfigTree

HELP = f"""\
The file is changed only if it is in the drop-in directory and holds only this rule. In the file, only the
value of `enabled` is changed. If the rule is defined elsewhere, the verb says where, and changes nothing.

{edit.EXIT_CODES}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both verbs."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Set `enabled` in the drop-in file of a rule (`enable`: true, `disable`: false), reload, and wait for"
        " the result."
    )
    parser.epilog = HELP
    parser.add_argument("name", metavar="NAME", help="name of the rule")
    edit.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Enable the rule for the verb `enable`, and disable it for `disable`."""
    is_enabled = options.verb == "enable"
    return edit.run(options, lambda tree: _decide(options.name, is_enabled, tree))


def _decide(name: str, is_enabled: bool, tree: ConfigTree) -> Change:
    holder = tree.holder(name)
    if holder is None:
        hint = did_you_mean(name, tree.rule_names()) or "; `mcrelay list` shows the rules that run"
        raise EditRefused(f"no rule is named `{name}`{hint}")
    where = holder.where_key("rules", name)
    if tree.rule(name, holder).enabled is is_enabled:
        return Change(f"{name}: unchanged, {where}")
    word, done = ("true", "enabled") if is_enabled else ("false", "disabled")
    by_hand = f"write `enabled: {word}` there, then run `mcrelay reload`"
    if not (tree.is_drop_in(holder) and has_only_rule(holder, name)):
        raise EditRefused(f"{where}: `{name}` has no drop-in file of its own: {by_hand}")
    try:
        text = set_enabled(holder, name, is_enabled)
    except UnusualStyleError:
        raise EditRefused(
            f"{where}: `enabled` cannot be changed automatically in a file written like this: {by_hand}"
        ) from None
    return Change(f"{name}: {done}, {holder.file}", Path(holder.file), text)
