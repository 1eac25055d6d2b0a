"""`mcrelay history`: lists the most recent accepted configurations, and marks the running one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcrelay.cli import history_option
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.history_option import Greeting
from mcrelay.cli.view.table import align
from mcrelay.cli.view.terminal import BOLD, GREEN, format_json, is_colour_wanted, paint
from mcrelay.cli.view.units import format_hash, format_time
from mcrelay.reload.history import Entry
from mcrelay.storage import state_dir

JSON_VERSION = 1  # version of the shape of --json
MAX_ROW_NAMES = 4  # rule names shown for each kind of change

HELP = """\
`mcrelay diff` takes the number of an entry. A star marks the entry that runs. `on trial` marks an entry that
is still on trial, or was never confirmed.

With --json, the verb prints one object, which mcrelay-history(1) and schemas/history.schema.json describe.

Exit codes: 0 listed, 1 there is no history, 2 usage, 4 not permitted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `history`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "List the most recent accepted configurations with their times, causes and changes."
    parser.epilog = HELP
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    history_option.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """List the history."""
    return history_option.run_with_history(_list, options)


def _list(options: argparse.Namespace, directory: Path, greeting: Greeting) -> int:
    entries = list(_read_entries(directory))
    running = find_running(entries, greeting)
    if options.json:
        shown = [_as_json(entry, None if greeting is None else entry is running) for entry in entries]
        print(format_json({"version": JSON_VERSION, "state_dir": str(directory), "entries": shown}))
    else:
        print(*format_history(entries, running, is_colour_wanted()), sep="\n")
    return Exit.OK


def _read_entries(directory: Path) -> Iterator[Entry]:
    """Yield the readable entries, and print a warning for each unreadable entry."""
    for number in state_dir.entry_numbers(directory):
        try:
            yield state_dir.read_entry(directory, number)
        except state_dir.StateDirectoryError as error:
            print(f"warning: {error}", file=sys.stderr)


def find_running(entries: Sequence[Entry], greeting: Greeting) -> Entry | None:
    """Return the latest entry with the hash of the running configuration, or None.

    The number of the generation does not identify an entry, because each daemon counts from 1.
    """
    content = greeting["hash"] if greeting else None
    return next((entry for entry in reversed(entries) if entry.hash == content), None)


def format_history(entries: Sequence[Entry], running: Entry | None, colour: bool) -> Iterator[str]:
    """Yield a line for each entry."""
    if not entries:
        yield "no history yet"
        return
    rows = [
        ("", "N", "TIME", "HASH", "HOW", "WHAT"),
        *(_make_row(entry, entry is running) for entry in entries),
    ]
    headings, *lines = align(rows, "<><<<<")
    yield paint(headings, BOLD, colour)
    for entry, line in zip(entries, lines, strict=True):
        yield paint(line, GREEN if entry is running else "", colour)


def _make_row(entry: Entry, is_running: bool) -> tuple[str, ...]:
    how = entry.outcome.replace("_", " ") + (" on trial" if entry.on_trial else "")
    what = "; ".join(filter(None, (*_format_changes(entry.changes), entry.reason))) or "no rule changed"
    return (
        "*" if is_running else "",
        str(entry.number),
        format_time(entry.time),
        format_hash(entry.hash),
        how,
        what,
    )


def _format_changes(changes: Mapping[str, Any]) -> Iterator[str]:
    for word in ("added", "changed", "removed"):
        if names := changes.get(word):
            more = changes.get(f"{word}_count", len(names)) - len(names[:MAX_ROW_NAMES])
            yield f"{word} {', '.join(names[:MAX_ROW_NAMES])}" + (f" +{more:,}" if more else "")
    yield from changes.get("settings", ())  # earlier versions wrote none


def _as_json(entry: Entry, runs: bool | None) -> dict[str, Any]:
    document = entry.as_json()
    del document["version"], document["contents"]
    return {**document, "files": [name for name, _ in entry.contents], "runs": runs}
