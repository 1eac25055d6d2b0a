"""Figures as an SVG chart: for each case a bar for each relay, from zero; a line shows the spread."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from benchmarks.figures import Figure, Question
from benchmarks.table import number

# Colours that people with any colour vision can tell apart (Okabe and Ito); who relays in the kernel is pale.
COLOURS = {"mcrelay": "#0072b2", "socat": "#d55e00", "smcroute": "#9a9a9a", "nftables": "#c9c9c9"}
OTHER = "#009e73"

WIDTH, LEFT, RIGHT = 880, 230, 70  # pixels: all, case names, room for the last number
TOP, BAR, GAP, FOOT = 76, 15, 14, 44
LINE = 135  # letters of the small print in a line


def chart(question: Question, figures: Sequence[Figure], caption: str) -> str:
    """Return the chart of one question as the text of an SVG file; `caption` says on what machine."""
    here = [figure for figure in figures if figure.question == question]
    scale = _Scale(max(figure.highest for figure in here))
    body, height = _groups(here, scale)
    notes = [*textwrap.wrap(question.method, LINE), caption]
    total = height + FOOT + 16 * len(notes)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{total}"'
            f' viewBox="0 0 {WIDTH} {total}"'
            ' font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222">',
            f'<rect width="{WIDTH}" height="{total}" fill="#fff"/>',
            _text(20, 28, question.title, 'font-size="17" font-weight="bold"'),
            _text(WIDTH - 20, 55, question.scale, 'text-anchor="end" font-size="11" fill="#666"'),
            *_legend(here),
            *_grid(scale, height, question.unit),
            *body,
            *(
                _text(20, height + FOOT + 16 * line, note, 'font-size="11" fill="#666"')
                for line, note in enumerate(notes)
            ),
            "</svg>\n",
        ]
    )


class _Scale:
    """From values to pixels, and the round values in between."""

    def __init__(self, most: float) -> None:
        self._step = _round_step(most / 5 if most > 0 else 1)
        self._end = self._step * math.ceil(most / self._step) if most > 0 else self._step

    def x(self, value: float) -> float:
        return round(LEFT + max(0.0, value) / self._end * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[float]:
        return [self._step * place for place in range(round(self._end / self._step) + 1)]


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20 ... that is at least `least`, at any magnitude."""
    magnitude = 10.0 ** math.floor(math.log10(least))
    return next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= least * 0.999)


def _groups(figures: Sequence[Figure], scale: _Scale) -> tuple[list[str], int]:
    """Return the bars of all cases, and the height at which they end."""
    lines, y = [], TOP
    for case in dict.fromkeys(figure.case for figure in figures):
        bars = [figure for figure in figures if figure.case == case]
        middle = y + BAR * len(bars) / 2 + 4
        lines.append(_text(LEFT - 12, middle, case, 'text-anchor="end"'))
        for figure in bars:
            lines += _bar(figure, scale, y)
            y += BAR
        y += GAP
    return lines, y - GAP // 2


def _bar(figure: Figure, scale: _Scale, y: int) -> Iterator[str]:
    width = round(scale.x(figure.median) - LEFT, 1)
    yield f'<rect x="{LEFT}" y="{y + 1}" width="{width}" height="{BAR - 2}" fill="{_colour(figure.relay)}"/>'
    if len(figure.values) > 1:
        low, high, middle = scale.x(figure.lowest), scale.x(figure.highest), y + BAR / 2
        line = f"M{low} {middle}H{high}M{low} {middle - 3}v6M{high} {middle - 3}v6"
        yield f'<path d="{line}" stroke="#222" fill="none"/>'
    label = number(figure.median) + ("+" if figure.is_bound else "")
    yield _text(scale.x(figure.highest) + 6, y + BAR - 4, label, 'font-size="11"')


def _legend(figures: Sequence[Figure]) -> Iterator[str]:
    x = LEFT
    for relay in dict.fromkeys(figure.relay for figure in figures):
        yield f'<rect x="{x}" y="44" width="12" height="12" fill="{_colour(relay)}"/>'
        yield _text(x + 18, 55, relay)
        x += 110


def _grid(scale: _Scale, height: int, unit: str) -> Iterator[str]:
    for value in scale.ticks():
        x = scale.x(value)
        yield f'<path d="M{x} {TOP - 8}V{height}" stroke="#ddd"/>'
        yield _text(x, height + 15, f"{value:,g}", 'text-anchor="middle" font-size="11" fill="#666"')
    yield _text(WIDTH - RIGHT + 16, height + 15, unit, 'font-size="11" fill="#666"')


def _colour(relay: str) -> str:
    return COLOURS.get(relay, OTHER)


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x}" y="{y}" {attributes}>{escape(text)}</text>'
