"""Figures as text: a table for each question, a row for each case, a column for each relay."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from benchmarks.figures import Figure, Question
from benchmarks.goals import Goal

WIDTH = 110  # characters of a line


def tables(figures: Sequence[Figure]) -> str:
    """Return all tables."""
    questions = dict.fromkeys(figure.question for figure in figures)
    return "\n\n".join(table(question, figures) for question in questions)


def table(question: Question, figures: Sequence[Figure]) -> str:
    """Return the table of one question: medians, and the spread if there were several runs."""
    here = [figure for figure in figures if figure.question == question]
    relays = list(dict.fromkeys(figure.relay for figure in here))
    cells = {(figure.case, figure.relay): cell(figure) for figure in here}
    rows = [["", *relays]]
    for case in dict.fromkeys(figure.case for figure in here):
        rows.append([case, *(cells.get((case, relay), "-") for relay in relays)])
    return f"{question.title} ({question.scale})\n{aligned(rows)}\n{textwrap.fill(question.method, WIDTH)}"


def goal_table(goals: Sequence[Goal]) -> str:
    """Return the table of goals, "" if there are none."""
    if not goals:
        return ""
    rows = [["Goal", "wanted", "measured", ""]]
    for goal in goals:
        measured = "-" if goal.measured is None else f"{number(goal.measured)} {goal.unit}".rstrip()
        rows.append([goal.text, goal.wanted, measured, goal.verdict])
    return aligned(rows)


def cell(figure: Figure) -> str:
    """Return a figure as a cell of a table: `612+ ±5%`, where no run is further from the median than 5 %."""
    text = number(figure.median) + ("+" if figure.is_bound else "")
    if len(figure.values) > 1 and figure.median:
        away = max(figure.highest - figure.median, figure.median - figure.lowest)
        text += f" ±{away / abs(figure.median):.0%}"
    return text


def number(value: float) -> str:
    """Return a number with three significant digits, or with all digits before the point."""
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def aligned(rows: list[list[str]]) -> str:
    """Return rows as lines of columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(_padded(row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _padded(row: list[str], widths: list[int]) -> list[str]:
    first, *rest = zip(row, widths, strict=True)
    return [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
