"""`mcrelay run`: runs the daemon in the foreground."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from traceback import format_exception
from types import TracebackType

from mcrelay.cli.exit_codes import Exit
from mcrelay.config.problems import ConfigError
from mcrelay.linux.descriptor_limit import raise_descriptor_limit
from mcrelay.storage import config_files, run_dir, state_dir
from mcrelay.supervisor import privileged
from mcrelay.supervisor.daemon import DaemonPaths, build
from mcrelay.supervisor.log_writer import LogWriter
from mcrelay.supervisor.privilege_probe import probe_privileges
from mcrelay.supervisor.run_dir_name import RunDirName
from mcrelay.supervisor.signals import Signals

log = logging.getLogger("mcrelay")

GC_THRESHOLD = 100_000  # number of new objects that starts the garbage collector

# The priorities of sd-daemon(3), which journald reads from the start of a line.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.description = "Run the relay in the foreground, until SIGTERM or SIGINT."
    parser.epilog = (
        "Exit codes: 0 stopped by SIGTERM or SIGINT, 1 another daemon uses the run directory, or the"
        " directory cannot be used, 2 usage, 4 not permitted, 78 the configuration is invalid."
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=Path, default=config_files.DEFAULT,
        help="main configuration file (default: %(default)s); its drop-in directory is FILE's name with `.d`",
    )  # fmt: skip
    parser.add_argument(
        "--run-dir", metavar="DIR", type=Path, default=run_dir.default(),
        help="directory of the lock and the control socket; each daemon needs its own"
        f" (default: RUNTIME_DIRECTORY, else {run_dir.DEFAULT})",
    )  # fmt: skip
    parser.add_argument(
        "--state-dir", metavar="DIR", type=Path, default=state_dir.default(),
        help="directory of the history, which `mcrelay try` needs for rolling back"
        f" (default: STATE_DIRECTORY, else {state_dir.DEFAULT})",
    )  # fmt: skip
    parser.add_argument(
        "--no-watch", dest="watch", action="store_false",
        help="reload on request only, even if the configuration sets `watch`",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Relay until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 logs a summary, SIGUSR2 reads a request."""
    signals = Signals(
        signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD
    )
    log_writer = _log_to_stderr()
    try:
        privileged.mount_bpf_file_system(options.run_dir)
        privileged.keep_needed_capabilities()
        user = privileged.unprivileged_user()
        probe_privileges(user)
        held = run_dir.lock(options.run_dir)
        name = RunDirName(options.run_dir)
    except privileged.PrivilegeError as error:
        log.error("not permitted: %s", error)
        return Exit.NOT_PERMITTED
    except run_dir.RunDirBusyError as error:
        log.error("%s", error)
        return Exit.FAILURE
    raise_descriptor_limit()
    # Configurations and plans have no reference cycles. The collector takes 0.25 s for 10,000 rules.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    paths = DaemonPaths(options.config, options.run_dir, options.state_dir)
    try:
        with build(paths, options.watch, user, signals, held, name, lambda: log_writer.loss) as supervisor:
            supervisor.run()
    except run_dir.RunDirBusyError as error:
        log.error("%s", error)
        return Exit.FAILURE
    except ConfigError as invalid:
        for line in invalid.lines():
            log.error("%s", line)
        return Exit.INVALID
    finally:
        os.close(held)
    return Exit.OK


def _log_to_stderr() -> LogWriter:
    writer = LogWriter()
    is_journal = "JOURNAL_STREAM" in os.environ
    writer.setFormatter(_Journal() if is_journal else logging.Formatter("mcrelay: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[writer])
    # The messages of watchdog's threads do not help the administrator; the file watcher reports their end.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    threading.excepthook = _log_end_of_thread
    sys.excepthook = _log_mistake  # the default one would wait until standard error takes the traceback
    return writer


def _log_mistake(kind: type[BaseException], mistake: BaseException, traceback: TracebackType | None) -> None:
    for line in "".join(format_exception(kind, mistake, traceback)).splitlines():
        log.critical("%s", line)


def _log_end_of_thread(failure: threading.ExceptHookArgs) -> None:
    log.warning("a thread ended with an error: %s: %s", failure.exc_type.__name__, failure.exc_value)


class _Journal(logging.Formatter):
    """Formats lines for journald, which reads the priority at the start of a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{record.getMessage()}"
