"""A wish for more than a reload: the supervisor finds it beside its control socket when SIGHUP comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcrelay.client import reload_request
from mcrelay.client.connection import BrokenOff, NotPermitted
from mcrelay.reload.requests import Confirm, OperatorRequest
from mcrelay.reload.results import Cause
from mcrelay.storage import request_file

Answer = dict[str, Any]


def submit(path: str, wish: OperatorRequest) -> tuple[Answer, Answer]:
    """Ask the daemon at a socket path; return its greeting and the result. Raises one of `UNREACHABLE`."""
    cause = Cause.CONFIRM if isinstance(wish, Confirm) else Cause.TRY
    return reload_request.request_reload(
        path,
        reload_request.PATIENCE,
        before=lambda greeting: _place(greeting, wish),
        answers=lambda verdict: verdict["cause"] == cause,
    )


def _place(greeting: Answer, wish: OperatorRequest) -> None:
    reload_request.must_be_permitted(greeting["pid"])  # or it would lie there without a signal
    run_dir = Path(greeting["run_dir"])
    try:
        request_file.write(run_dir, wish, greeting["uid"])
    except request_file.RequestPendingError as error:
        raise BrokenOff(str(error)) from None
    except PermissionError:
        raise NotPermitted(f"you may not write into {run_dir}: use sudo") from None
    except OSError as error:
        raise BrokenOff(f"cannot write into {run_dir}: {(error.strerror or str(error)).lower()}") from None


def why(verdict: Answer) -> str:
    """Return why what was wished cannot be had."""
    return "; ".join(str(problem["message"]) for problem in verdict["problems"])
