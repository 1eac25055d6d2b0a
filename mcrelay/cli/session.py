"""The running daemon, as the verbs reach it, and the one line that they say where they cannot."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Callable
from contextlib import closing

from mcrelay.cli.exit_codes import Exit
from mcrelay.client.connection import (
    PATIENCE,
    UNREACHABLE,
    Client,
    Failed,
    NotPermitted,
    NotRunning,
    Unreachable,
    connect,
)
from mcrelay.model.suggestions import list_words
from mcrelay.protocol.jsonrpc import Code
from mcrelay.storage import run_dir

SOCKET_VARIABLE = "MCRELAY_SOCKET"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which daemon is meant."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--socket",
        metavar="PATH",
        help=f"the daemon's socket (default: {SOCKET_VARIABLE}, else {run_dir.CONTROL_SOCKET} of DIR)",
    )
    either.add_argument(
        "--run-dir",
        metavar="DIR",
        help=f"its run directory (default: RUNTIME_DIRECTORY, else {run_dir.DEFAULT})",
    )


def socket_path(options: argparse.Namespace) -> str:
    """Return the path of the socket that is meant."""
    if options.socket is not None:
        return str(options.socket)
    if options.run_dir is None and os.environ.get(SOCKET_VARIABLE):
        return os.environ[SOCKET_VARIABLE]
    return os.path.join(options.run_dir or run_dir.default(), run_dir.CONTROL_SOCKET)


def connect_to_daemon(options: argparse.Namespace, patience: float = PATIENCE) -> closing[Client]:
    """Return a connection to the daemon that has so many seconds to answer; raises one of `UNREACHABLE`."""
    return closing(connect(socket_path(options), min(patience, PATIENCE)))


def run_with_daemon(verb: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a verb; where the daemon cannot be asked or cannot answer, say why and return the exit code."""
    try:
        return verb(options)
    except (*UNREACHABLE, Failed) as error:
        print(f"mcrelay: {explain(error)}", file=sys.stderr)
        return exit_code(error)


def explain(error: Unreachable | Failed) -> str:
    """Return what is wrong, and what to do about it, in one line."""
    match error:
        case NotRunning(path=path) if _is_there(path) and not _is_socket(path):
            return f"{path} is no socket: name {run_dir.CONTROL_SOCKET} in mcrelay's run directory"
        case NotRunning():
            return f"{error}; start it, or say where it runs with --socket or --run-dir"
        case Failed(code=Code.UNKNOWN_RULE, message=message, data={"names": [_, *_] as names}):
            return message if "did you mean" in message else f"{message}; did you mean {list_words(names)}?"
        case Failed(code=Code.UNKNOWN_RULE, message=message):
            return f"{message}; `mcrelay list` shows those that there are"
        case _:
            return str(error)


def exit_code(error: Unreachable | Failed) -> Exit:
    """Return the exit code of a verb that ended so."""
    match error:
        case NotRunning():
            return Exit.NOT_RUNNING
        case NotPermitted():
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
