"""`mcrelay add`: a rule in a drop-in file of its own, running by the time that the verb ends."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from mcrelay.cli import edit
from mcrelay.cli.edit import Change, EditRefused
from mcrelay.config.drop_in import format_drop_in, has_only_rule, is_written_by_add
from mcrelay.config.model import Rule
from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import Source
from mcrelay.model.addresses import is_group, looks_like_address
from mcrelay.storage.config_tree import ConfigTree, parse_text

_NUMBER = re.compile(r"[0-9]{1,9}")

HELP = f"""\
IFACE is a name of `interfaces`. An output without GROUP sends to the input's group, and one without PORT to
the input's port. In the place of GROUP an address of a host may stand.

The file is written beside the others as NAME.yaml, checked together with all of them before it is put in
place, and reloaded. The same rule again is no change.

{edit.EXIT_CODES}"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `add`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Write a rule into a drop-in file of its own, reload, and wait for the verdict."
    parser.epilog = HELP
    parser.add_argument("name", metavar="NAME", help="the name of the rule, and of its file")
    parser.add_argument(
        "--input", metavar="IFACE:GROUP:PORT", type=_parse_input, required=True, help="what the rule takes"
    )
    parser.add_argument(
        "--output", metavar="IFACE[:GROUP[:PORT]]", type=_parse_output, required=True, action="append",
        help="where it is sent; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--sources", metavar="A,B", type=_parse_sources, help="the only senders that are relayed"
    )
    parser.add_argument(
        "--ttl", metavar="TTL", type=_parse_number, help="of the outputs: a number, or `decrement`"
    )
    parser.add_argument(
        "--dscp", metavar="DSCP", type=_parse_number, help="of the outputs: a number, or `copy`"
    )
    parser.add_argument("--description", metavar="TEXT", help="what the rule is for, in your words")
    parser.add_argument("--disabled", action="store_true", help="write the rule without running it")
    parser.add_argument(
        "--replace", action="store_true", help="replace another rule that `mcrelay add` wrote"
    )
    edit.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Add the rule, unless it is there."""
    return edit.run(options, lambda tree: _decide(options, tree))


def _decide(options: argparse.Namespace, tree: ConfigTree) -> Change:
    name, file = options.name, tree.drop_in_path(options.name)
    text = format_drop_in(name, rule_as_data(options))
    wanted = tree.rule(name, parse_text(file, text))
    holder = tree.holder(name)
    if holder is None:
        if file.exists():
            raise EditRefused(f"{file} is there already, without a rule `{name}`: rename it")
        return Change(f"{name}: added, {file}", file, text)
    where = holder.where_key("rules", name)
    if _valid_rule(tree, name, holder) == wanted:
        return Change(f"{name}: unchanged, {where}")
    if not (tree.is_drop_in(holder) and has_only_rule(holder, name) and is_written_by_add(holder)):
        raise EditRefused(
            f"{where}: another rule has the name `{name}`: edit it there, or choose another name"
        )
    if not options.replace:
        raise EditRefused(f"{where}: another rule has the name `{name}`: give --replace to replace it")
    return Change(f"{name}: replaced, {holder.file}", Path(holder.file), text)


def _valid_rule(tree: ConfigTree, name: str, holder: Source) -> Rule | None:
    try:
        return tree.rule(name, holder)
    except ConfigError:
        return None


def rule_as_data(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rule that the command line asks for, as it is written in a file."""
    taken = options.input | ({"sources": options.sources} if options.sources else {})
    sending = {key: value for key in ("ttl", "dscp") if (value := getattr(options, key)) is not None}
    described = {"description": options.description} if options.description else {}
    outputs = [output | sending for output in options.output]
    disabled = {"enabled": False} if options.disabled else {}
    return {**described, "input": taken, "outputs": outputs, **disabled}


def _parse_input(text: str) -> dict[str, Any]:
    match text.split(":"):
        case [interface, destination, port] if destination and port:
            return _endpoint(interface, destination, port)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not of the form IFACE:GROUP:PORT, such as `studio:239.1.1.1:5001`"
    )


def _parse_output(text: str) -> dict[str, Any]:
    match text.split(":"):
        case [interface]:
            return _endpoint(interface)
        case [interface, destination]:
            return _endpoint(interface, destination)
        case [interface, destination, port]:
            return _endpoint(interface, destination, port)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not of the form IFACE[:GROUP[:PORT]], such as `plant` or `plant:239.2.2.2:6001`"
    )


def _endpoint(interface: str, destination: str = "", port: str = "") -> dict[str, Any]:
    """Return an input or output as it is written in a file; what may be empty is left out."""
    is_host = looks_like_address(destination) and not is_group(destination)
    named = {"address" if is_host else "group": destination} if destination else {}
    return {"interface": interface, **named, **({"port": _parse_number(port)} if port else {})}


def _parse_number(text: str) -> int | str:
    """Return a number; what is none is left to the schema, which knows what to say."""
    return int(text) if _NUMBER.fullmatch(text) else text


def _parse_sources(text: str) -> list[str]:
    return [source.strip() for source in text.split(",")]
