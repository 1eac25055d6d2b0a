"""`mcrelay try`: applies the files on trial, and rolls them back unless `mcrelay confirm` is called."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from mcrelay.cli import reload, session
from mcrelay.cli.argument_types import positive_number
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.terminal import format_json
from mcrelay.client import operator_request, reload_request
from mcrelay.reload.requests import Try
from mcrelay.reload.trial import MAX_TRIAL_S

DEFAULT_TRIAL_S = 120.0

HELP = """\
The files are read and applied as with `mcrelay reload`. Every change that is applied until the trial ends is
on trial, too. If `mcrelay confirm` is not called in time, the daemon restores the configuration from before
the trial. Sockets that both configurations need stay open. The files are not changed.

A daemon that watches its files applies changes at once: call `mcrelay try` first, then change the files. A
second `mcrelay try` moves the end of the trial.

With --json, the verb prints one object, which mcrelay-try(1) and schemas/try.schema.json describe.

Exit codes: 0 on trial, 1 refused (there is no state directory, for example), or no result, 2 usage,
3 no daemon is running, 4 not permitted, 78 rejected: the previous configuration still runs, not on trial."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `try`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Apply the files on trial: they are rolled back unless `mcrelay confirm` keeps them."
    parser.epilog = HELP
    parser.add_argument(
        "--timeout", metavar="SEC", type=_parse_seconds, default=DEFAULT_TRIAL_S,
        help="roll back after SEC seconds (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    session.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Start a trial, and print the time of its end."""
    return session.run_with_daemon(_try, options)


def _parse_seconds(text: str) -> float:
    seconds = positive_number(text)
    if seconds > MAX_TRIAL_S:
        raise argparse.ArgumentTypeError(f"a trial lasts at most {MAX_TRIAL_S:g} seconds")
    return seconds


def _try(options: argparse.Namespace) -> int:
    path = session.socket_path(options)
    greeting, result = operator_request.submit(path, Try(options.timeout))
    _, status = reload_request.call_with_retry(path, "status", reload_request.RELOAD_TIMEOUT_S)
    trial = status["trial"]
    if options.json:
        print(format_json({**reload.build_document(result), "trial": trial}))
    elif result["outcome"] == "refused":
        print(f"mcrelay: not on trial: {operator_request.format_refusal(result)}", file=sys.stderr)
    else:
        reload.print_result(greeting, result)
        print(*format_trial(trial), sep="\n", end="\n" if trial else "")
    return Exit.FAILURE if result["outcome"] == "refused" else reload.exit_code(result)


def format_trial(trial: dict[str, Any] | None) -> list[str]:
    """Return a line with the end of the trial and the verb that confirms it, or no line if no trial runs."""
    if trial is None:
        return []
    until = time.strftime("%H:%M:%S", time.localtime(trial["until"]))
    return [f"on trial until {until}, with all further changes: `mcrelay confirm` keeps them"]
