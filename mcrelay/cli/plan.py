"""`mcrelay plan`: shows what a reload would change, without changing it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mcrelay.cli import config_option, session
from mcrelay.cli.check import CheckResult
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.route_answers import read_route_answers
from mcrelay.cli.view.plan_changes import Comparison, compare
from mcrelay.cli.view.plan_report import format_reload, format_start, plan_as_json
from mcrelay.cli.view.terminal import is_colour_wanted
from mcrelay.client.connection import UNREACHABLE, NotRunning
from mcrelay.config.model import AUTO_DATA_PLANE, Config
from mcrelay.config.problems import ConfigError
from mcrelay.kernel.loader import check_object
from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.linux.netlink import LinkTableError, read_links
from mcrelay.model.send_errors import PathFault
from mcrelay.reconcile.placement import KernelSupport
from mcrelay.reconcile.plan import plan
from mcrelay.storage import config_files

CHANGES_EXIT_CODE = 2  # of --detailed-exitcode, if a reload would change something

HELP = """\
Compares the file with the running daemon. If no daemon runs, shows what a start would run. Needs no privilege
except access to the daemon's socket.

With --json, the verb prints one object, which mcrelay-plan(1) and schemas/plan.schema.json describe.

If the file is invalid, the object is that of `mcrelay check --json`.

Exit codes: 0 planned, 1 failure, 2 usage, 4 not permitted, 78 the file is invalid.

With --detailed-exitcode: 0 if nothing would change, 2 if something would, 1 on any error."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `plan`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Show what a reload of this configuration would change: add, change, remove, keep."
    parser.epilog = HELP
    config_option.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    detailed = "exit with 2 if something would change, and with 1 on any error"
    parser.add_argument("--detailed-exitcode", action="store_true", help=detailed)
    session.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Plan the file, and compare the plan with the running daemon."""
    code = session.run_with_daemon(_plan, options)
    return Exit.FAILURE if options.detailed_exitcode and code not in (Exit.OK, CHANGES_EXIT_CODE) else code


def _plan(options: argparse.Namespace) -> int:
    running = _fetch_status(options, options.detailed_exitcode)
    file = config_option.find_named_file(options)
    if file is None:
        file = running["daemon"]["config"] if running else str(config_files.DEFAULT)
    try:
        config = config_files.compile_contents(config_option.read_contents(options, file))
        planned = _plan_here(config, running)
    except ConfigError as invalid:
        return _report_invalid(CheckResult(file, invalid.problems), options)
    except LinkTableError as error:
        print(f"mcrelay: cannot read the links of this host: {error}", file=sys.stderr)
        return Exit.FAILURE
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    comparison = compare(running, planned) if running else None
    if options.json:
        others = {"against": _compared_daemon(running), "changes": asdict(comparison) if comparison else None}
        print(json.dumps({"file": file, **planned, **others}, indent=2))
    else:
        print(*_format(file, planned, comparison), sep="\n")
    is_change = bool(planned["rules"]) if comparison is None else not comparison.is_empty
    return CHANGES_EXIT_CODE if options.detailed_exitcode and is_change else Exit.OK


def _plan_here(config: Config, running: dict[str, Any] | None) -> dict[str, Any]:
    """Return the plan of a configuration on this host, as JSON; `running` is the status of the daemon.

    Raises LinkTableError.
    """
    outputs = [output for rule in running["rules"] for output in rule["outputs"]] if running else []
    silent = {output["destination"] for output in outputs if output["fault"] == PathFault.NO_NEIGHBOR}
    links = read_links()
    answers = read_route_answers(config, links, silent)
    kernel = KernelSupport(_find_kernel_obstacle(running), is_default=AUTO_DATA_PLANE == "kernel")
    return plan_as_json(config, plan(config, links, os.cpu_count() or 1, None, answers, kernel))


def _find_kernel_obstacle(running: dict[str, Any] | None) -> str:
    """Return why this host has no kernel data plane, as far as is known; empty if the daemon has one.

    Without a daemon that has tried it, it is assumed to work if this installation has the program for it.
    """
    known = running["daemon"].get("kernel_data_plane") if running else None
    if known and known["available"] is not None:
        return str(known["reason"])
    try:
        check_object()
    except KernelPlaneUnavailable as unavailable:
        return str(unavailable)
    return ""


def _fetch_status(options: argparse.Namespace, is_strict: bool) -> dict[str, Any] | None:
    """Return the status of the daemon, or None with a warning if no daemon runs.

    If a daemon runs and does not answer, raise the error if `is_strict`, else return None with a warning.
    """
    try:
        with session.connect_to_daemon(options) as client:
            document: dict[str, Any] = client.call("status")
            return document
    except NotRunning as error:
        print(f"warning: not compared with a running daemon: {error}", file=sys.stderr)
    except UNREACHABLE as error:
        if is_strict:
            raise
        print(f"warning: not compared with the running daemon: {session.explain(error)}", file=sys.stderr)
    return None


def _report_invalid(result: CheckResult, options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        print(result.as_text(colour=False), file=sys.stderr)
    return Exit.INVALID


def _compared_daemon(running: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the daemon that the file was compared with, for `--json`."""
    if running is None:
        return None
    daemon = running["daemon"]
    return {
        "pid": daemon["pid"],
        "config": daemon["config"],
        "generation": running["generation"]["number"],
    }


def preview(options: argparse.Namespace, file: str, config: Config) -> Iterator[str]:
    """Return the lines about a reload or a start with this configuration. Raises LinkTableError."""
    running = _fetch_status(options, is_strict=False)
    planned = _plan_here(config, running)
    return _format(file, planned, compare(running, planned) if running else None)


def _format(file: str, planned: dict[str, Any], comparison: Comparison | None) -> Iterator[str]:
    if comparison is None:
        return format_start(file, planned)
    return format_reload(file, planned, comparison, is_colour_wanted())
