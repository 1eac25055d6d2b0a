"""What an operator can ask of the supervisor beside a reload, and the text that says so.

A wish lies in the run directory as a file when SIGHUP comes. Whoever may put it there may ask: the kernel
decides, and the control socket stays a place where nothing can be changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mcrelay.reload.trial import LONGEST

MOST_OCTETS = 4096  # of the text


class RequestError(Exception):
    """A text that asks for nothing that there is."""


@dataclass(frozen=True, slots=True)
class Try:
    """Take the files as they stand, on trial for so many seconds."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Confirm:
    """Keep the generation that is on trial."""

    generation: int


OperatorRequest = Try | Confirm


def text_of(wish: OperatorRequest) -> str:
    """Return the text of a wish."""
    match wish:
        case Try(timeout):
            fields = {"verb": "try", "timeout": timeout}
        case Confirm(generation):  # pragma: no branch: there is no other
            fields = {"verb": "confirm", "generation": generation}
    return json.dumps(fields)


def wish_of(text: bytes) -> OperatorRequest:
    """Return the wish that a text says; raises NoWish."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError("it is no JSON") from None
    match fields:
        case {"timeout": bool()} | {"generation": bool()}:
            pass  # Python takes True for a number
        case {"verb": "try", "timeout": int() | float() as timeout, **rest} if not rest:
            if not 0 < timeout <= LONGEST:
                raise RequestError(f"a trial lasts more than 0 and at most {LONGEST:g} seconds")
            return Try(timeout)
        case {"verb": "confirm", "generation": int(generation), **rest} if not rest:
            return Confirm(generation)
    raise RequestError("it asks neither to try nor to confirm in the words of this version")
