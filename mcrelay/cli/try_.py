"""`mcrelay try`: whatever the files say is on trial, and rolled back unless somebody confirms it in time."""

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

TIMEOUT = 120.0  # seconds

HELP = """\
The files are read and applied as `mcrelay reload` does it, and from then on everything that is applied is on
trial until the same time, whoever changes it. If `mcrelay confirm` does not come before, the configuration
that ran before the trial runs again, on the same sockets. The files stay as they are.

A daemon that watches its files takes a change before anyone can try it, so begin with `mcrelay try`, and
change the files then. Once more moves the end of the trial.

With --json, what `mcrelay reload --json` prints, and trial: {generation, hash, until (seconds since 1970),
confirmed (the hash of what would come back)}, null where no trial runs; outcome may be refused, too.

Exit codes: 0 on trial, 1 refused (there is no state directory, for example), or no verdict, 2 usage,
3 mcrelay does not run, 4 not permitted, 78 rejected: what ran before runs on, and not on trial."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `try`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Put the files, and all changes from now on, on trial: `mcrelay confirm` keeps them."
    parser.epilog = HELP
    parser.add_argument(
        "--timeout", metavar="SEC", type=_seconds, default=TIMEOUT,
        help="how long the trial lasts (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    session.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Begin a trial, and tell until when it lasts."""
    return session.run_with_daemon(_try, options)


def _seconds(text: str) -> float:
    seconds = positive_number(text)
    if seconds > MAX_TRIAL_S:
        raise argparse.ArgumentTypeError(f"a trial lasts {MAX_TRIAL_S:g} seconds at most")
    return seconds


def _try(options: argparse.Namespace) -> int:
    greeting, verdict = operator_request.submit(session.socket_path(options), Try(options.timeout))
    _, status = reload_request.call_with_retry(
        session.socket_path(options), "status", reload_request.PATIENCE
    )
    trial = status["trial"]
    if options.json:
        print(format_json({**reload.shape(verdict), "trial": trial}))
    elif verdict["outcome"] == "refused":
        print(f"mcrelay: not on trial: {operator_request.why(verdict)}", file=sys.stderr)
    else:
        reload.tell(greeting, verdict, options)
        print(*told(trial), sep="\n", end="\n" if trial else "")
    return Exit.FAILURE if verdict["outcome"] == "refused" else reload.code(verdict)


def told(trial: dict[str, Any] | None) -> list[str]:
    """Return what is to be done, and until when."""
    if trial is None:
        return []
    until = time.strftime("%H:%M:%S", time.localtime(trial["until"]))
    return [f"on trial until {until}, with all changes to come: `mcrelay confirm` keeps them"]
