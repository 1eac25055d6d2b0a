"""How `send`, `receive` and `trace` report an error: one line on standard error, and an exit code."""

from __future__ import annotations

import sys

from mcrelay.cli.exit_codes import Exit
from mcrelay.traffic.endpoint import UsageError


def report_error(verb: str, error: UsageError | OSError) -> Exit:
    """Print why a verb failed, and return its exit code."""
    match error:
        case UsageError():
            why, code = str(error), Exit.USAGE
        case PermissionError():
            why, code = f"not permitted: {error.strerror}", Exit.NOT_PERMITTED
        case _:
            why, code = error.strerror or str(error), Exit.FAILURE
    print(f"mcrelay {verb}: {why}", file=sys.stderr)
    return code
