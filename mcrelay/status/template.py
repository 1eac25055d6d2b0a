"""JSON text with holes: what stays is encoded once, and the numbers are put in for each document.

A document of 10,000 rules is asked for again and again, and only its numbers differ.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcrelay.protocol.jsonrpc import Json, encode_json

HOLE = "\0hole"  # no text of a configuration is this

_ENCODED_HOLE = encode_json(HOLE)


class Template:
    """The text of a JSON value in which some values are HOLE."""

    __slots__ = ("_text",)

    def __init__(self, value: Json) -> None:
        self._text = encode_json(value).replace("%", "%%").replace(_ENCODED_HOLE, "%s")

    def fill(self, values: Iterable[object]) -> str:
        """Return the text with a value for each hole, in their order: numbers, or JSON text."""
        return self._text % tuple(values)
