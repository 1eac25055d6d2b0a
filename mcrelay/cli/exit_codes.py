"""The exit codes of all verbs."""

from enum import IntEnum


class Exit(IntEnum):
    """How a verb ended."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_PERMITTED = 4
    DEGRADED = 5
    INVALID = 78  # EX_CONFIG of sysexits.h
    INTERRUPTED = 130  # what a shell reports for SIGINT
    BROKEN_PIPE = 141  # what a shell reports for SIGPIPE

    @property
    def meaning(self) -> str:
        """What the code says, for the manual."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "Success",
    Exit.FAILURE: "The verb failed; a line on standard error says why",
    Exit.USAGE: "The command line is wrong",
    Exit.NOT_RUNNING: "No daemon is running",
    Exit.NOT_PERMITTED: "The user is not permitted to do this",
    Exit.DEGRADED: "`mcrelay status --exit-code`: the daemon runs, but not everything in the file does",
    Exit.INVALID: "The configuration is invalid; every problem is printed",
    Exit.INTERRUPTED: "Interrupted by Ctrl-C",
    Exit.BROKEN_PIPE: "The reader of the output closed the pipe",
}
