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
