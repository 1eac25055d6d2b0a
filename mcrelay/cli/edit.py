"""The steps of a verb that changes a configuration file: check all files, write one, reload, or undo."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mcrelay.cli import reload, session
from mcrelay.cli.check import CheckResult
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.terminal import is_colour_wanted
from mcrelay.client import reload_request
from mcrelay.client.connection import UNREACHABLE, AccessDenied, NotRunning
from mcrelay.config.compiler import compile_config
from mcrelay.config.model import Config
from mcrelay.config.problems import ConfigError
from mcrelay.model.os_errors import format_os_error
from mcrelay.storage import config_files, run_dir
from mcrelay.storage.atomic import write_atomically
from mcrelay.storage.config_tree import ConfigTree, read_tree

LOCK_RETRY_S = 0.05  # between two attempts to lock the files

EXIT_CODES = """\
Exit codes: 0 done, or nothing to do, 1 refused, or no result in time, 2 usage, 3 no daemon runs at
--run-dir or --socket, 4 not permitted, 78 the files would be invalid; nothing was changed."""


class EditRefused(Exception):
    """The change is refused, and the files stay unchanged. The message has the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """A message for the user, and the file to write or delete. Without a file, nothing changes."""

    message: str
    file: Path | None = None
    text: str | None = None  # None deletes the file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of all verbs that change the files."""
    meaning = f"main configuration file (default: the running daemon's, else {config_files.DEFAULT})"
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, help=meaning)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="change nothing; show what a reload would do, as `mcrelay plan` does",
    )
    reload.add_timeout_argument(parser)
    session.add_arguments(parser)


def run(options: argparse.Namespace, decide: Callable[[ConfigTree], Change]) -> int:
    """Make the change that `decide` returns for the current files, and print the result."""
    return session.run_with_daemon(lambda options: _run(options, decide), options)


def _run(options: argparse.Namespace, decide: Callable[[ConfigTree], Change]) -> int:
    target = _find_target(options)
    try:
        with _lock_files(target.main, options.timeout):
            before = read_tree(target.main)
            change = decide(before)
            after = before.sources if change.file is None else before.with_file(change.file, change.text)
            config = compile_config(after)
            if options.dry_run:
                return _preview(options, target, change, config)
            return _carry_out(options, target, change, config)
    except ConfigError as invalid:
        result = CheckResult(str(target.main), invalid.problems)
        print(f"{result.as_text(is_colour_wanted())}: nothing was changed")
        return Exit.INVALID
    except EditRefused as refused:
        print(f"mcrelay: {refused}", file=sys.stderr)
        return Exit.FAILURE


@dataclass(frozen=True, slots=True)
class _Target:
    """The main file, and the reason if no daemon can reload it."""

    main: Path
    why_not_reloaded: str = ""


def _find_target(options: argparse.Namespace) -> _Target:
    """Return the file to change. The default file is used only if no daemon is named and none runs.

    Raises an error of UNREACHABLE if no file is named, and the daemon does not answer.
    """
    try:
        with session.connect_to_daemon(options) as client:
            pid, config = client.greeting["pid"], Path(client.greeting["config"])
    except UNREACHABLE as error:
        is_named = session.socket_path(options) != str(run_dir.DEFAULT / run_dir.CONTROL_SOCKET)
        if options.config is None and (is_named or not isinstance(error, NotRunning)):
            raise
        return _Target(options.config or config_files.DEFAULT, str(error))
    if options.config is not None and not _is_same(options.config, config):
        return _Target(options.config, f"the daemon (process {pid}) runs {config}")
    if not options.dry_run:
        reload_request.require_permission(pid)
    return _Target(config)


def _is_same(file: Path, other: Path) -> bool:
    try:
        return os.path.samefile(file, other)
    except OSError:
        return False


@contextmanager
def _lock_files(main: Path, timeout_s: float) -> Iterator[None]:
    """Lock the files against other `mcrelay` commands, so that the daemon reloads the checked files."""
    try:
        lock = os.open(main, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield  # reading the file reports the error
        return
    try:
        _wait_for_lock(lock, main, time.monotonic() + timeout_s)
        yield
    finally:
        os.close(lock)


def _wait_for_lock(lock: int, main: Path, end: float) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise EditRefused(f"another process has locked {main}: see `lslocks`") from None
            time.sleep(LOCK_RETRY_S)


def _preview(options: argparse.Namespace, target: _Target, change: Change, config: Config) -> int:
    # Imported here, because the import takes as long as everything else together.
    from mcrelay.cli import plan
    from mcrelay.linux.netlink import LinkTableError

    print(f"dry run: {change.message}")
    try:
        print(*plan.preview(options, str(target.main), config), sep="\n")
    except LinkTableError as error:
        raise EditRefused(f"cannot read the links of this host: {error}") from None
    return Exit.OK


def _carry_out(options: argparse.Namespace, target: _Target, change: Change, config: Config) -> int:
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    undo = _write(change, target.main)
    if target.why_not_reloaded:
        print(change.message)
        print(f"mcrelay: not reloaded: {target.why_not_reloaded}", file=sys.stderr)
        return Exit.OK
    path = session.socket_path(options)
    try:
        greeting, result = reload_request.request_reload(path, options.timeout)
    except UNREACHABLE:
        print(change.message)
        raise
    if result["outcome"] == "rejected":
        undo()
        with suppress(*UNREACHABLE):  # so that the daemon's last result is about the current files
            reload_request.request_reload(path, options.timeout)
    else:
        print(change.message)
    if result["outcome"] != "unchanged":
        reload.print_result(greeting, result)
    else:
        if change.file is not None:  # the daemon watches its files, and applied the change first
            print(f"{greeting['config']}: applied already, generation {result['generation']}")
        for line in reload.format_degraded(result, is_colour_wanted()):
            print(line)
    return reload.exit_code(result)


def _write(change: Change, main: Path) -> Callable[[], None]:
    """Write or delete the file, and return a function that undoes the change."""
    if change.file is None:
        return lambda: None
    try:
        return write_atomically(change.file, None if change.text is None else change.text.encode(), main)
    except PermissionError as error:
        raise AccessDenied(f"cannot write {change.file}: {format_os_error(error)}: use sudo") from None
    except OSError as error:
        raise EditRefused(f"cannot write {change.file}: {format_os_error(error)}") from None
