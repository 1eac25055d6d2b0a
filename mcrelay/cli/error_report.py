"""The errors of `send`, `receive` and `trace`, each as a line on standard error and an exit code."""

from __future__ import annotations

import sys

from mcrelay.cli.exit_codes import Exit
from mcrelay.traffic.endpoint import UsageError


def report_error(verb: str, error: UsageError | OSError) -> Exit:
    """Print the error of a verb, and return the exit code of the verb."""
    match error:
        case UsageError():
            message, code = str(error), Exit.USAGE
        case PermissionError():
            message, code = f"not permitted: {error.strerror}", Exit.NOT_PERMITTED
        case _:
            message, code = error.strerror or str(error), Exit.FAILURE
    print(f"mcrelay {verb}: {message}", file=sys.stderr)
    return code
