"""The requests of an operator to the supervisor other than a reload, and their text.

The client writes the text to a file in the run directory and then sends SIGUSR2
(`storage/request_file.py`). The control socket accepts none of these requests, so that its clients cannot
change the configuration.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mcrelay.reload.trial import MAX_TRIAL_S

MAX_REQUEST_BYTES = 4096  # of its text


class RequestError(Exception):
    """Raised if a text is not a valid request; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Try:
    """Applies the files in their present state, on trial for `timeout` seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Confirm:
    """Keeps the generation that is on trial."""

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
    """Return the request in a text. Raises RequestError if the text is not a valid request."""
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
    raise RequestError("it is not a `try` or `confirm` request of this version")
