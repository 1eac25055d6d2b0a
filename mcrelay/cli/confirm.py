"""`mcrelay confirm`: keeps the configuration that is on trial."""

from __future__ import annotations

import argparse
import sys

from mcrelay.cli import reload, session
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.terminal import format_json, is_colour_wanted
from mcrelay.client import operator_request
from mcrelay.reload.requests import Confirm

HELP = """\
Confirms the generation that is on trial when the verb is called. If another generation runs when the daemon
reads the request, nothing is confirmed.

With --json, the verb prints one object, which mcrelay-confirm(1) and schemas/confirm.schema.json describe.

Exit codes: 0 confirmed, 1 refused (nothing is on trial, or another generation), or no result, 2 usage,
3 no daemon is running, 4 not permitted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `confirm`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Keep the configuration that `mcrelay try` put on trial, instead of rolling it back."
    parser.epilog = HELP
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    session.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Confirm the generation that is on trial."""
    return session.run_with_daemon(_confirm, options)


def _confirm(options: argparse.Namespace) -> int:
    with session.connect_to_daemon(options) as client:
        generation = client.call("status")["generation"]["number"]
    _, result = operator_request.submit(session.socket_path(options), Confirm(generation))
    if options.json:
        document = reload.build_document(result)
        del document["changes"]
        print(format_json(document))
    elif result["outcome"] == "confirmed":
        confirmed = f"generation {result['generation']} is confirmed"
        print(confirmed, *reload.format_degraded(result, is_colour_wanted()), sep="\n")
    else:
        print(f"mcrelay: not confirmed: {operator_request.format_refusal(result)}", file=sys.stderr)
    return Exit.OK if result["outcome"] == "confirmed" else Exit.FAILURE
