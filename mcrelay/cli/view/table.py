"""Tables as aligned lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

GAP = "  "
TEXT_WIDTH = 100  # characters in a line of wrapped text


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    The side `<` aligns its cells left, `>` right. The function `cell` returns the text of an item's cell.
    """

    heading: str
    side: str
    cell: Callable[[Any], str]


def make_rows(columns: Sequence[Column], items: Iterable[Any]) -> list[list[str]]:
    """Return the row of the headings, and below it a row for each item."""
    headings = [column.heading for column in columns]
    return [headings, *([column.cell(item) for column in columns] for item in items)]


def align_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return each row as a line, with its cells on the sides of their columns."""
    return align(rows, "".join(column.side for column in columns))


def align(rows: Sequence[Sequence[str]], layout: str) -> list[str]:
    """Return each row as a line; `layout` has a character for each column: `<` aligns left, `>` right."""
    cells = [
        f"%{'-' if side == '<' else ''}{width}s" for side, width in zip(layout, widths(rows), strict=True)
    ]
    line = GAP.join(cells)
    return [(line % tuple(row)).rstrip() for row in rows]


def widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """Return the width of each column in characters."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def wrap_note(text: str) -> list[str]:
    """Return the lines of a note below a row; no line if the text is empty."""
    return wrap(text, TEXT_WIDTH, initial_indent=GAP, subsequent_indent=GAP, break_on_hyphens=False)
