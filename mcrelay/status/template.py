"""JSON text with holes: the constant part is encoded once, and each document fills in the numbers.

A document of 10,000 rules is requested again and again, and only its numbers differ.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcrelay.protocol.jsonrpc import Json, encode_json

HOLE = "\0hole"  # which no text of a configuration is

_ENCODED_HOLE = encode_json(HOLE)


class Template:
    """The text of a JSON value in which some values are HOLE."""

    __slots__ = ("_text",)

    def __init__(self, value: Json) -> None:
        self._text = encode_json(value).replace("%", "%%").replace(_ENCODED_HOLE, "%s")

    def fill(self, values: Iterable[object]) -> str:
        """Return the text with a value for each hole, in their order: numbers, or JSON text."""
        return self._text % tuple(values)
