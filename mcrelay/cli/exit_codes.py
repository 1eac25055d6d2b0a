"""The exit codes of all verbs."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit code of a verb."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_PERMITTED = 4
    DEGRADED = 5
    INVALID = 78  # EX_CONFIG of sysexits.h
    INTERRUPTED = 130  # 128 + SIGINT, as shells report it
    BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells report it

    @property
    def meaning(self) -> str:
        """The meaning of the exit code, for the manual."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "Success",
    Exit.FAILURE: "The verb failed; a line on standard error has the reason",
    Exit.USAGE: "The command line is wrong",
    Exit.NOT_RUNNING: "No daemon is running",
    Exit.NOT_PERMITTED: "The user is not permitted to do this",
    Exit.DEGRADED: "`mcrelay status --exit-code`: the daemon runs, but not every enabled rule of the file",
    Exit.INVALID: "The configuration is invalid; every problem is printed",
    Exit.INTERRUPTED: "Interrupted by Ctrl-C",
    Exit.BROKEN_PIPE: "The reader of the output closed the pipe",
}
