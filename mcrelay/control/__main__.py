"""Entry point of the control process, which the supervisor starts: `python -I -m mcrelay.control`."""

from __future__ import annotations

# Every module is imported here, before privileges are dropped: the unprivileged user may be unable to read
# Python's own files (a virtual environment below root's home).
import difflib  # noqa: F401 -- model/suggestions.py imports it when it is needed, which is too late here
import sys

from mcrelay.control.server import Server
from mcrelay.ipc.channel import NonBlockingChannel
from mcrelay.ipc.child_process import parse_options, run_unprivileged


def main() -> int:
    """Drop every privilege, and answer clients until the supervisor ends."""
    options = parse_options("mcrelay.control")
    return run_unprivileged("control", options, lambda: Server(NonBlockingChannel(options.channel)).run())


if __name__ == "__main__":
    sys.exit(main())
