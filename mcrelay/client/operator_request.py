"""Requests with arguments (`try`, `confirm`): a file in the daemon's run directory, and SIGUSR2.

SIGHUP is for reloads only: the kernel merges two pending signals with the same number, so that one would be
lost.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from mcrelay.client.connection import AccessDenied, NoAnswer
from mcrelay.client.reload_request import (
    RELOAD_TIMEOUT_S,
    require_permission,
    send_signal,
    set_mark,
    wait_for_result,
)
from mcrelay.reload.requests import Confirm, OperatorRequest
from mcrelay.reload.results import Cause
from mcrelay.storage import request_file

Answer = dict[str, Any]


def submit(path: str, request: OperatorRequest) -> tuple[Answer, Answer]:
    """Submit a request to the daemon at a socket path; return its greeting and the result.

    Raises one of `UNREACHABLE`.
    """
    mark = set_mark(path, RELOAD_TIMEOUT_S)
    pid = mark.greeting["pid"]
    require_permission(pid)  # or the file would be written without a signal
    _place(mark.greeting, request)
    send_signal(pid, signal.SIGUSR2)
    cause = Cause.CONFIRM if isinstance(request, Confirm) else Cause.TRY
    return mark.greeting, wait_for_result(mark, cause)


def _place(greeting: Answer, request: OperatorRequest) -> None:
    run_dir = Path(greeting["run_dir"])
    try:
        request_file.write(run_dir, request, greeting["uid"])
    except request_file.RequestPendingError as error:
        raise NoAnswer(str(error)) from None
    except PermissionError:
        raise AccessDenied(f"not permitted to write into {run_dir}: use sudo") from None
    except OSError as error:
        raise NoAnswer(f"cannot write into {run_dir}: {(error.strerror or str(error)).lower()}") from None


def refusal(result: Answer) -> str:
    """Return why a request was refused."""
    return "; ".join(str(problem["message"]) for problem in result["problems"])
