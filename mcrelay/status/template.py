"""Templates of JSON text, which are encoded once and filled with numbers for each document.

Clients request documents with up to 10,000 rules again and again, and only the numbers in them differ.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcrelay.protocol.jsonrpc import Json, encode_json

HOLE = "\0hole"  # a configuration cannot contain this text

_ENCODED_HOLE = encode_json(HOLE)


class Template:
    """The text of a JSON value, in which each HOLE stands for a value that `fill` inserts."""

    __slots__ = ("_text",)

    def __init__(self, value: Json) -> None:
        self._text = encode_json(value).replace("%", "%%").replace(_ENCODED_HOLE, "%s")

    def fill(self, values: Iterable[object]) -> str:
        """Return the text with each HOLE replaced, in order, by one of `values` (numbers or JSON text)."""
        return self._text % tuple(values)
