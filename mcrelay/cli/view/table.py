"""Rows of cells as aligned lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GAP = "  "


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
