"""The options of `history` and `diff` that name the directory of the history."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mcrelay.cli import session
from mcrelay.cli.exit_codes import Exit
from mcrelay.client.connection import UNREACHABLE, NotRunning
from mcrelay.storage import state_dir

Greeting = Mapping[str, Any] | None  # None if no daemon answers; the history can be read without a daemon


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the state directory and the daemon."""
    meaning = (
        f"state directory (default: the running daemon's, else STATE_DIRECTORY, else {state_dir.DEFAULT})"
    )
    parser.add_argument("--state-dir", metavar="DIR", type=Path, help=meaning)
    session.add_arguments(parser)


def run_with_history(
    verb: Callable[[argparse.Namespace, Path, Greeting], int], options: argparse.Namespace
) -> int:
    """Call `verb` with the state directory and the daemon's greeting. Print an error with advice."""
    greeting = _fetch_greeting(options)
    directory = options.state_dir or Path(greeting["state_dir"] if greeting else state_dir.default())
    try:
        return verb(options, directory, greeting)
    except state_dir.StateDirectoryError as error:
        hint, code = _explain(directory)
        print(f"mcrelay: {error}{hint}", file=sys.stderr)
        return code


def _fetch_greeting(options: argparse.Namespace) -> Greeting:
    try:
        with session.connect_to_daemon(options) as client:
            return client.greeting
    except NotRunning:
        return None
    except UNREACHABLE as error:
        print(f"warning: cannot ask the daemon: {session.explain(error)}", file=sys.stderr)
        return None


def _explain(directory: Path) -> tuple[str, Exit]:
    """Return the advice and the exit code for an unreadable directory or entry."""
    try:
        os.listdir(directory / state_dir.HISTORY)
    except PermissionError:
        return ": use sudo", Exit.NOT_PERMITTED
    except OSError:
        return "; give the state directory with --state-dir", Exit.FAILURE
    return "; `mcrelay history` lists the entries", Exit.FAILURE
