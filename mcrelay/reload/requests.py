"""What an operator can request of the supervisor besides a reload, and its text.

The text is in a file of the run directory when SIGUSR2 arrives (`storage/request_file.py`). The control
socket takes no such request, so that its clients can change nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mcrelay.reload.trial import MAX_TRIAL_S

MAX_BYTES = 4096  # of the text


class RequestError(Exception):
    """A text that is no valid request; the message says why."""


@dataclass(frozen=True, slots=True)
class Try:
    """Apply the files as they are now, on trial for `timeout` seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Confirm:
    """Keep the generation that is on trial."""

    generation: int


OperatorRequest = Try | Confirm


def format_request(request: OperatorRequest) -> str:
    """Return the text of a request."""
    match request:
        case Try(timeout):
            fields = {"verb": "try", "timeout": timeout}
        case Confirm(generation):  # pragma: no branch: there is no other
            fields = {"verb": "confirm", "generation": generation}
    return json.dumps(fields)


def parse_request(text: bytes) -> OperatorRequest:
    """Return the request in a text; raises RequestError."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError("it is not JSON") from None
    match fields:
        case {"timeout": bool()} | {"generation": bool()}:
            pass  # True is an int to Python
        case {"verb": "try", "timeout": int() | float() as timeout, **rest} if not rest:
            if not 0 < timeout <= MAX_TRIAL_S:
                raise RequestError(f"a trial lasts more than 0 and at most {MAX_TRIAL_S:g} seconds")
            return Try(timeout)
        case {"verb": "confirm", "generation": int(generation), **rest} if not rest:
            return Confirm(generation)
    raise RequestError("it requests neither `try` nor `confirm` as this version knows them")
