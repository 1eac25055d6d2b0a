"""The exit codes of all verbs."""

from enum import IntEnum


class Exit(IntEnum):
    """What a verb's end means to the shell that called it."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_PERMITTED = 4
    DEGRADED = 5
    INVALID = 78  # EX_CONFIG of sysexits.h
    INTERRUPTED = 130  # what a shell reports for SIGINT
    BROKEN_PIPE = 141  # and for SIGPIPE

    @property
    def meaning(self) -> str:
        """What has happened, for the manual."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "All is well",
    Exit.FAILURE: "It failed, and a line on standard error says why",
    Exit.USAGE: "The command line is wrong",
    Exit.NOT_RUNNING: "No daemon runs there",
    Exit.NOT_PERMITTED: "This user may not do it",
    Exit.DEGRADED: "`mcrelay status --exit-code`: the daemon runs, but not all of it is as the file says",
    Exit.INVALID: "The configuration is invalid, and every problem is named",
    Exit.INTERRUPTED: "Interrupted with Ctrl-C",
    Exit.BROKEN_PIPE: "Whoever read the output has gone",
}
