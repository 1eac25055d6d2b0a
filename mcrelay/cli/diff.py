"""`mcrelay diff`: compares an entry of the history with the files as they are now."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from pathlib import Path

from mcrelay.cli import history_option, reload
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.history_option import Greeting
from mcrelay.cli.route_answers import read_route_answers
from mcrelay.cli.view.terminal import BOLD, GREEN, RED, format_json, is_colour_wanted, paint
from mcrelay.cli.view.units import format_hash, format_time
from mcrelay.config.changes import Changes, compare_configs
from mcrelay.config.model import Config
from mcrelay.config.problems import ConfigError
from mcrelay.linux.netlink import LinkTableError, read_links
from mcrelay.model.links import LinkTable
from mcrelay.model.printable import make_printable
from mcrelay.model.routes import RouteAnswers
from mcrelay.reconcile.plan import route_finder
from mcrelay.reload.history import Entry
from mcrelay.storage import config_files, state_dir

JSON_VERSION = 1  # version of the shape of --json
NO_FILE = "/dev/null"
COLOURS = {"---": BOLD, "+++": BOLD, "+": GREEN, "-": RED}

HELP = """\
The files of the entry are compared with the files on disk, line by line as `diff -u` does, and rule by rule.
`mcrelay history` lists the entries.

With --json, the verb prints one object, which mcrelay-diff(1) and schemas/diff.schema.json describe.

Exit codes: 0 compared, 1 there is no such entry, 2 usage, 4 not permitted, 78 the files cannot be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `diff`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Show which lines and rules have changed since an entry of the history."
    parser.epilog = HELP
    parser.add_argument("number", metavar="N", type=_parse_entry_number, help="number of the entry")
    meaning = "main file to compare with (default: the running daemon's, else the entry's)"
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, help=meaning)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    history_option.add_arguments(parser)


def _parse_entry_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of an entry: see `mcrelay history`")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Compare the entry with the files."""
    return history_option.run_with_history(_compare, options)


def _compare(options: argparse.Namespace, directory: Path, greeting: Greeting) -> int:
    entry = state_dir.read_entry(directory, options.number)
    main = options.config or Path(greeting["config"] if greeting else entry.contents[0][0])
    try:
        now = config_files.read(main)
    except ConfigError as invalid:
        print(*invalid.lines(), sep="\n", file=sys.stderr)
        return Exit.INVALID
    lines = list(
        compare_lines(relocate(entry, main), [(name, text.decode("utf-8", "replace")) for name, text in now])
    )
    changed = _compare_rules(entry, now)
    if options.json:
        head = {"version": JSON_VERSION, "entry": entry.number, "time": entry.time, "hash": entry.hash}
        print(format_json({**head, "diff": lines, "changes": changed.as_json() if changed else None}))
    else:
        print(*format_diff(entry, lines, changed, is_colour_wanted()), sep="\n")
    return Exit.OK


def relocate(entry: Entry, main: Path) -> list[tuple[str, str]]:
    """Return the (name, text) of each file of an entry, with the names that it would have beside `main`."""
    directory = config_files.drop_in_directory(main)
    names = [str(main), *(str(directory / Path(name).name) for name, _ in entry.contents[1:])]
    return [(name, text) for name, (_, text) in zip(names, entry.contents, strict=True)]


def compare_lines(before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of `diff -u` between two sets of (name, text); /dev/null stands for a missing file."""
    old, new = dict(before), dict(after)
    for name in {**old, **new}:
        was, now = old.get(name), new.get(name)
        if was != now:
            heads = (
                NO_FILE if was is None else _format_file_name(name),
                NO_FILE if now is None else _format_file_name(name),
            )
            yield from unified_diff((was or "").splitlines(), (now or "").splitlines(), *heads, lineterm="")


def _format_file_name(name: str) -> str:
    """Return a file name for the head of a patch: patch(1) reads a name with spaces up to a tab."""
    return f"{name}\t" if " " in name else name


def format_diff(entry: Entry, lines: list[str], changed: Changes | None, colour: bool) -> Iterator[str]:
    """Yield the differing lines, and the added, changed and removed rules."""
    since = f"since entry {entry.number} ({format_hash(entry.hash)}, {format_time(entry.time)})"
    if not lines:
        yield f"nothing has changed {since}"
        return
    yield from (_paint_line(line, colour) for line in lines)
    yield ""
    if changed is None:
        yield f"{since}: the rules cannot be compared, because the files are now invalid: see `mcrelay check`"
    else:
        yield f"{since}:"
        yield from reload.format_changes(changed.as_json())


def _paint_line(line: str, colour: bool) -> str:
    shown = make_printable(line, keep="\t")
    accent = next((accent for start, accent in COLOURS.items() if line.startswith(start)), "")
    return paint(shown, accent, colour)


def _compare_rules(entry: Entry, now: config_files.Contents) -> Changes | None:
    """Return the changes of the rules, or None if the entry or the files are not a valid configuration."""
    try:
        before = config_files.compile_contents([(name, text.encode()) for name, text in entry.contents])
        after = config_files.compile_contents(now)
    except ConfigError:
        return None
    links = _read_links()
    return compare_configs(before, after, route_finder(links, _read_answers(links, before, after)))


def _read_answers(links: LinkTable, *configs: Config) -> RouteAnswers:
    """Return the answers that plans of all these configs need."""
    answers = [read_route_answers(config, links) for config in configs]
    return RouteAnswers(
        {query: route for answer in answers for query, route in answer.routes.items()},
        frozenset().union(*(answer.silent for answer in answers)),
    )


def _read_links() -> LinkTable:
    """Return the links of this host. If they cannot be read, print a warning and return an empty table."""
    try:
        return read_links()
    except LinkTableError as error:
        print(f"warning: cannot read the links of this host: {error}", file=sys.stderr)
        return LinkTable()
