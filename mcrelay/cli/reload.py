"""`mcrelay reload`: asks for a reload, and waits for the verdict on the file as it stands now."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mcrelay.cli import daemon, problems
from mcrelay.cli.amounts import counted
from mcrelay.cli.exits import Exit
from mcrelay.cli.overview import few
from mcrelay.cli.terminal import as_json, colour_wanted
from mcrelay.control.client import BrokenOff, NotPermitted

SHAPE = 1  # version of the shape of --json
PAUSE = 0.03  # seconds between two looks
NAMES = 8  # more names of changed rules than these are a wall

HELP = """\
The verdict is that on the file as it stood when `mcrelay reload` was called, or later.

With --json, one object: version (of this shape, 1), outcome (applied, unchanged or rejected), at (seconds
since 1970), generation, changes: {added, changed, removed: the first 100 names each; added_count,
changed_count, removed_count, kept: how many}, and problems: a list of {file, line, column, path, message}.

Exit codes: 0 applied or unchanged, 1 no verdict, 2 usage, 3 mcrelay does not run, 4 not permitted,
78 rejected: what ran before runs on."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reload`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Reload the configuration, and wait for the verdict."
    parser.epilog = HELP
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument(
        "--timeout",
        metavar="SEC",
        type=float,
        default=60.0,
        help="how long to wait for the verdict (default: %(default)g)",
    )
    daemon.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Reload, and tell how it ended."""
    return daemon.answering(_reload, options)


def _reload(options: argparse.Namespace) -> int:
    deadline = time.monotonic() + options.timeout
    greeting, mark = _asked(options, "reload.mark", deadline)
    _hang_up(greeting["pid"])
    verdict = _verdict(options, greeting["pid"], mark["begun"], deadline)
    if options.json:
        print(as_json(shape(verdict)))
    else:
        print(*told(verdict, greeting["config"], colour_wanted()), sep="\n")
        _tell_what_does_not_run(options, verdict["changes"], deadline)
    return Exit.INVALID if verdict["outcome"] == "rejected" else Exit.OK


def _hang_up(pid: int) -> None:
    """Ask for the reload: the kernel decides who may."""
    try:
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGHUP)
        finally:
            os.close(process)
    except PermissionError:
        raise NotPermitted(f"you may not signal process {pid}: use sudo") from None
    except ProcessLookupError:
        raise BrokenOff(f"process {pid} has ended, or is hidden from here: nothing was reloaded") from None


def _verdict(options: argparse.Namespace, pid: int, begun: int, deadline: float) -> dict[str, Any]:
    """Return the verdict of a reload that began after `begun`: the file has been read anew for it."""
    while time.monotonic() < deadline:
        greeting, verdict = _asked(options, "reload.verdict", deadline)
        if greeting["pid"] != pid:
            raise BrokenOff("mcrelay was restarted meanwhile: see `mcrelay status`")
        if verdict["finished"] > begun:
            return verdict
        time.sleep(PAUSE)
    raise BrokenOff(f"no verdict within {options.timeout:g} s; the reload goes on: see `mcrelay status`")


def _asked(
    options: argparse.Namespace, method: str, deadline: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the greeting and the answer. A control process that dies meanwhile comes back."""
    while True:
        try:
            with daemon.connected(options) as client:
                return client.greeting, client.call(method)
        except BrokenOff:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


def _tell_what_does_not_run(options: argparse.Namespace, changes: Mapping[str, Any], deadline: float) -> None:
    """Say of each rule that is new or another why it does not run, if so: an applied file is not all."""
    names = {*changes.get("added", ()), *changes.get("changed", ())}
    if names:
        _, listed = _asked(options, "list", deadline)
        for rule in listed["rules"]:
            if rule["name"] in names and rule["reason"]:
                print(f"  {rule['name']} is {rule['state']}: {rule['reason']}")


def shape(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--json` prints."""
    keys = ("outcome", "at", "generation", "changes", "problems")
    return {"version": SHAPE, **{key: verdict[key] for key in keys}}


def told(verdict: Mapping[str, Any], file: str, colour: bool) -> Iterator[str]:
    """Yield the verdict as text."""
    generation = verdict["generation"]
    match verdict["outcome"]:
        case "rejected":
            yield from problems.retold(verdict["problems"], verdict["lines"], colour)
            found = counted(len(verdict["problems"]), "problem")
            yield f"{file}: {found}: rejected, generation {generation} runs on"
        case "unchanged":
            yield f"{file}: unchanged, generation {generation} runs on"
        case outcome:
            yield f"{file}: {outcome}, generation {generation}"
            yield from _changes(verdict["changes"])


def _changes(changes: Mapping[str, Any]) -> Iterator[str]:
    for word in ("added", "changed", "removed"):
        if names := changes[word]:
            yield f"  {word:<9}{counted(changes[f'{word}_count'], 'rule')}: {few(names, NAMES)}"
    yield f"  {'kept':<9}{counted(changes['kept'], 'rule')}"
