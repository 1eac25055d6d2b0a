"""The connection of a verb to the running daemon, and the error message if it fails."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable
from contextlib import closing

from mcrelay.cli.exit_codes import Exit
from mcrelay.client.connection import (
    ANSWER_TIMEOUT_S,
    UNREACHABLE,
    AccessDenied,
    Client,
    NotRunning,
    RequestFailed,
    Unreachable,
    connect,
)
from mcrelay.model.suggestions import list_words
from mcrelay.protocol.jsonrpc import Code
from mcrelay.storage import run_dir

SOCKET_VARIABLE = "MCRELAY_SOCKET"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select the daemon."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--socket",
        metavar="PATH",
        help=f"the daemon's socket (default: {SOCKET_VARIABLE}, else {run_dir.CONTROL_SOCKET} in DIR)",
    )
    either.add_argument(
        "--run-dir",
        metavar="DIR",
        help=f"the daemon's run directory (default: RUNTIME_DIRECTORY, else {run_dir.DEFAULT})",
    )


def socket_path(options: argparse.Namespace) -> str:
    """Return the path of the selected control socket."""
    if options.socket is not None:
        return str(options.socket)
    if options.run_dir is None and os.environ.get(SOCKET_VARIABLE):
        return os.environ[SOCKET_VARIABLE]
    return os.path.join(options.run_dir or run_dir.default(), run_dir.CONTROL_SOCKET)


def connect_to_daemon(options: argparse.Namespace, timeout_s: float = ANSWER_TIMEOUT_S) -> closing[Client]:
    """Connect to the daemon, which has `timeout_s` seconds for each answer. Raises one of `UNREACHABLE`."""
    return closing(connect(socket_path(options), min(timeout_s, ANSWER_TIMEOUT_S)))


def run_with_daemon(verb: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Call `verb`. If the daemon is unreachable or answers with an error, print the error."""
    try:
        return verb(options)
    except (*UNREACHABLE, RequestFailed) as error:
        print(f"mcrelay: {explain(error)}", file=sys.stderr)
        return exit_code(error)


def explain(error: Unreachable | RequestFailed) -> str:
    """Return the message of an error with advice, on one line."""
    match error:
        case NotRunning(path=path) if _is_there(path) and not _is_socket(path):
            return f"{path} is not a socket: give {run_dir.CONTROL_SOCKET} in mcrelay's run directory"
        case NotRunning():
            return f"{error}; start it, or give --socket or --run-dir"
        case RequestFailed(code=Code.UNKNOWN_RULE, message=message, data={"names": [_, *_] as names}):
            return message if "did you mean" in message else f"{message}; did you mean {list_words(names)}?"
        case RequestFailed(code=Code.UNKNOWN_RULE, message=message):
            return f"{message}; `mcrelay list` shows all rules"
        case _:
            return str(error)


def exit_code(error: Unreachable | RequestFailed) -> Exit:
    """Return the exit code for an error."""
    match error:
        case NotRunning():
            return Exit.NOT_RUNNING
        case AccessDenied():
            return Exit.NOT_PERMITTED
        case _:
            return Exit.FAILURE


def _is_there(path: str) -> bool:
    return os.path.lexists(path)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
