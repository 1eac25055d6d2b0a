"""Run a command with the worst of what a parent can leave to it: hostile_environment.py FOLDER COMMAND ...

No standard input, no terminal, ignored signals, a strict umask, few descriptors, and variables that no test
and no daemon may depend on; TMPDIR is FOLDER. `make test-hostile` runs every test like this.
"""

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1)


def variables(folder: Path) -> dict[str, str]:
    """Return the variables that the command gets beside those of this process."""
    return {
        "TMPDIR": str(folder),
        "HOME": str(folder / "home"),
        "TZ": "Asia/Kathmandu",
        "LANG": "C",
        "LC_ALL": "C",
        "COLUMNS": "43",
        "LINES": "7",
        "TERM": "dumb",
        "PYTHONWARNINGS": "error",
        "RUNTIME_DIRECTORY": "/nonexistent/run",
        "STATE_DIRECTORY": "/nonexistent/state",
        "JOURNAL_STREAM": "8:1",
    }


def main(folder: Path, command: list[str]) -> None:
    """Become the command."""
    folder.chmod(0o1777)  # as /tmp: workers, which are nobody, write their coverage into it
    os.environ.update(variables(folder))
    os.umask(0o077)
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard_limit))
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # it is closed already
        os.close(0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
