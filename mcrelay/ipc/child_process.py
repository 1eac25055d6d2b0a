"""Functions that the entry points of the child processes share, for options, privileges and exit status."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from mcrelay.ipc.channel import ChannelClosed
from mcrelay.linux.sandbox import PrivilegesHeldError, drop_all_privileges
from mcrelay.protocol.framing import WireError

STANDARD_ERROR = 2


def parse_options(program: str, *numbers: str) -> argparse.Namespace:
    """Parse the command line: the channel's descriptor, the user to become, and the required `numbers`."""
    parser = argparse.ArgumentParser(prog=program)
    for name in ("channel", *numbers):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("uid", "gid"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args()


def run_unprivileged(name: str, options: argparse.Namespace, serve: Callable[[], NoReturn]) -> int:
    """Drop every privilege, then `serve` until the supervisor closes the channel; return the exit status.

    Errors go to the log as one line that begins with `name`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the supervisor ends its children
    try:
        drop_all_privileges(options.uid, options.gid)
    except (PrivilegesHeldError, OSError) as error:
        report(f"{name}: cannot give up privileges: {error}")
        return 1
    try:
        serve()
    except ChannelClosed:
        return 0
    except WireError as error:
        report(f"{name}: {error}")
        return 1


def report(text: str) -> None:
    """Write a line to the supervisor's log. The line is lost if the supervisor does not read."""
    with suppress(OSError):  # `print` would keep the line, and fail again and again
        os.write(STANDARD_ERROR, f"{text}\n".encode(errors="backslashreplace"))
