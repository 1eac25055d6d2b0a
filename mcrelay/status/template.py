"""JSON text with holes: what stays is encoded once, and what changes is put in.

A document of 10,000 rules is wanted again and again, and all but its numbers is the same each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from mcrelay.protocol.jsonrpc import Json

HOLE = "\0hole"  # no text of a configuration is this

_ENCODED_HOLE = json.dumps(HOLE)
_encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class Template:
    """The text of a document in which some values are HOLE."""

    __slots__ = ("_text",)

    def __init__(self, document: Json) -> None:
        self._text = text(document).replace("%", "%%").replace(_ENCODED_HOLE, "%s")

    def filled(self, values: Iterable[object]) -> str:
        """Return the text with a value for each hole, in their order: numbers, or JSON already."""
        return self._text % tuple(values)


def text(value: Json) -> str:
    """Return a value as JSON, as short as it gets."""
    return _encoder.encode(value)
