"""Submits the requests of `mcrelay try` and `mcrelay confirm` with a file in the run directory and SIGUSR2.

SIGHUP is for reloads only. If requests used it, too, the kernel would merge two pending signals, and one
request would be lost.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from mcrelay.client.connection import AccessDenied, NoAnswer
from mcrelay.client.reload_request import (
    RELOAD_TIMEOUT_S,
    prepare_wait,
    require_permission,
    send_signal,
    wait_for_result,
)
from mcrelay.model.os_errors import format_os_error
from mcrelay.reload.requests import Confirm, OperatorRequest
from mcrelay.reload.results import Cause
from mcrelay.storage import request_file

Answer = dict[str, Any]


def submit(path: str, request: OperatorRequest) -> tuple[Answer, Answer]:
    """Submit a request to the daemon at a socket path; return its greeting and the result.

    Raises one of `UNREACHABLE`.
    """
    wait = prepare_wait(path, RELOAD_TIMEOUT_S)
    pid = wait.greeting["pid"]
    require_permission(pid)  # checked first, because the file is useless without the signal
    _write_request(wait.greeting, request)
    send_signal(pid, signal.SIGUSR2)
    cause = Cause.CONFIRM if isinstance(request, Confirm) else Cause.TRY
    return wait.greeting, wait_for_result(wait, cause)


def _write_request(greeting: Answer, request: OperatorRequest) -> None:
    run_dir = Path(greeting["run_dir"])
    try:
        request_file.write(run_dir, request, greeting["uid"])
    except request_file.RequestPendingError as error:
        raise NoAnswer(str(error)) from None
    except PermissionError:
        raise AccessDenied(f"not permitted to write into {run_dir}: use sudo") from None
    except OSError as error:
        raise NoAnswer(f"cannot write into {run_dir}: {format_os_error(error)}") from None


def format_refusal(result: Answer) -> str:
    """Return the reasons of the refusal of a request."""
    return "; ".join(str(problem["message"]) for problem in result["problems"])
