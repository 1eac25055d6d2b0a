"""`mcrelay add`: writes a rule into its own drop-in file, and reloads."""

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
IFACE is a name under `interfaces`. An output without GROUP sends to the input's group, an output without PORT
to the input's port. GROUP may also be a host address.

The rule is written to NAME.yaml in the drop-in directory. All files together are checked first; if they would
be invalid, nothing is written. If the same rule exists already, nothing changes.

{edit.EXIT_CODES}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `add`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Write a rule into its own drop-in file, reload, and wait for the result."
    parser.epilog = HELP
    parser.add_argument("name", metavar="NAME", help="name of the rule and of its file")
    _add_endpoints(parser)
    _add_overrides(parser)
    parser.add_argument("--description", metavar="TEXT", help="what the rule is for")
    parser.add_argument("--disabled", action="store_true", help="write the rule with `enabled: false`")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace a different rule of this name that `mcrelay add` wrote",
    )
    edit.add_arguments(parser)


def _add_endpoints(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        metavar="IFACE:GROUP:PORT",
        type=_parse_input,
        required=True,
        help="interface, group and port that the rule receives",
    )
    parser.add_argument(
        "--output",
        metavar="IFACE[:GROUP[:PORT]]",
        type=_parse_output,
        required=True,
        action="append",
        help="destination of the copies; may be given several times",
    )
    parser.add_argument(
        "--sources", metavar="A,B", type=_parse_sources, help="relay packets of these senders only"
    )
    parser.add_argument(
        "--input-loopback", action="store_true", help="relay what this host itself sends to the input, too"
    )


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for header fields that all outputs write."""
    parser.add_argument(
        "--ttl", metavar="TTL", type=_parse_number, help="TTL of the outputs: a number, or `decrement`"
    )
    parser.add_argument(
        "--dscp", metavar="DSCP", type=_parse_number, help="DSCP of the outputs: a number, or `copy`"
    )
    parser.add_argument(
        "--output-loopback", action="store_true", help="programs on this host hear the outputs, too"
    )


def run(options: argparse.Namespace) -> int:
    """Add the rule, unless an equal rule exists."""
    return edit.run(options, lambda tree: _decide(options, tree))


def _decide(options: argparse.Namespace, tree: ConfigTree) -> Change:
    name, file = options.name, tree.drop_in_path(options.name)
    text = format_drop_in(name, build_rule(options))
    holder = tree.holder(name)
    if holder is None:
        if file.exists():
            raise EditRefused(f"{file} exists, but has no rule `{name}`: rename it, or choose another name")
        return Change(f"{name}: added, {file}", file, text)
    wanted = tree.rule(name, parse_text(file, text))
    where = holder.where_key("rules", name)
    if _read_valid_rule(tree, name, holder) == wanted:
        return Change(f"{name}: unchanged, {where}")
    if not (tree.is_drop_in(holder) and has_only_rule(holder, name) and is_written_by_add(holder)):
        raise EditRefused(
            f"{where}: another rule has the name `{name}`: edit it there, or choose another name"
        )
    if not options.replace:
        raise EditRefused(f"{where}: another rule has the name `{name}`: give --replace to replace it")
    return Change(f"{name}: replaced, {holder.file}", Path(holder.file), text)


def _read_valid_rule(tree: ConfigTree, name: str, holder: Source) -> Rule | None:
    try:
        return tree.rule(name, holder)
    except ConfigError:
        return None


def build_rule(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rule of the command line as the data of a configuration file."""
    rule_input = options.input | ({"sources": options.sources} if options.sources else {})
    overrides = {key: value for key in ("ttl", "dscp") if (value := getattr(options, key)) is not None}
    rule_input |= {"loopback": True} if options.input_loopback else {}
    overrides |= {"loopback": True} if options.output_loopback else {}
    description = {"description": options.description} if options.description else {}
    outputs = [output | overrides for output in options.output]
    disabled = {"enabled": False} if options.disabled else {}
    return {**description, "input": rule_input, "outputs": outputs, **disabled}


def _parse_input(text: str) -> dict[str, Any]:
    match text.split(":"):
        case [interface, destination, port] if destination and port:
            return _build_endpoint(interface, destination, port)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not of the form IFACE:GROUP:PORT, such as `studio:239.1.1.1:5001`"
    )


def _parse_output(text: str) -> dict[str, Any]:
    match text.split(":"):
        case [interface]:
            return _build_endpoint(interface)
        case [interface, destination]:
            return _build_endpoint(interface, destination)
        case [interface, destination, port]:
            return _build_endpoint(interface, destination, port)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not of the form IFACE[:GROUP[:PORT]], such as `plant` or `plant:239.2.2.2:6001`"
    )


def _build_endpoint(interface: str, destination: str = "", port: str = "") -> dict[str, Any]:
    """Return an input or output as the data of a configuration file, without empty keys."""
    is_host = looks_like_address(destination) and not is_group(destination)
    named = {"address" if is_host else "group": destination} if destination else {}
    return {"interface": interface, **named, **({"port": _parse_number(port)} if port else {})}


def _parse_number(text: str) -> int | str:
    """Return a number, or any other text unchanged: the schema refuses it with a message of its own."""
    return int(text) if _NUMBER.fullmatch(text) else text


def _parse_sources(text: str) -> list[str]:
    return [source.strip() for source in text.split(",")]
