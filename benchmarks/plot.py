"""The chart of a question as SVG: horizontal bars from zero, grouped by case; a line shows the spread.

matplotlib is in the dependency group `bench`, and is imported when a chart is drawn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, Question
from benchmarks.table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Colours for any colour vision (Okabe and Ito). Peers in the kernel are grey.
COLOURS = {
    "mcrelay kernel": "#0072b2",
    "mcrelay exclusive": "#005080",
    "mcrelay userspace": "#56b4e9",
    "socat": "#d55e00",
    "smcroute": "#7a7a7a",
    "nftables": "#b5b5b5",
    "nftables dup": "#d0d0d0",
}
OTHER_COLOUR = "#009e73"

SETTINGS: Any = {  # of matplotlib
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mcrelay",  # the same figures make the same file
    "font.size": 9,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
WIDTH_INCHES, BAR_INCHES, REST_INCHES = 9.0, 0.17, 1.7  # the rest: title, legend, axis and notes
GAP = 0.8  # between two cases, in bars
NOTE_LETTERS = 165  # in a line of the notes


def chart(question: Question, figures: Sequence[Figure], caption: str) -> str:
    """Return the chart of one question as the text of an SVG file; `caption` names the machine."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    here = _by_case([figure for figure in figures if figure.question == question])
    places, cases = _places(here)
    notes = [*textwrap.wrap(question.method, NOTE_LETTERS), *textwrap.wrap(caption, NOTE_LETTERS)]
    height = BAR_INCHES * (max(places) + 1) + REST_INCHES + 0.13 * len(notes)
    with rc_context(SETTINGS):
        canvas = Canvas(figsize=(WIDTH_INCHES, height), layout="constrained")
        axes = canvas.subplots()
        _bars(axes, here, places)
        axes.set_yticks(list(cases.values()), list(cases))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#dddddd")
        axes.set_axisbelow(True)
        axes.set_xlim(0, 1.1 * max(figure.highest for figure in here) if _has_bars(here) else 1)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_xlabel(question.scale)
        canvas.suptitle(question.title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(COLOURS), frameon=False)
        canvas.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=7, color="#666666")
        return svg(canvas)


def svg(canvas: Canvas) -> str:
    """Return a drawing as the text of an SVG file without a date."""
    text = StringIO()
    canvas.savefig(text, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _by_case(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures of each case together, cases in the order in which they first appear."""
    order = list(dict.fromkeys(figure.case for figure in figures))
    return sorted(figures, key=lambda figure: order.index(figure.case))


def _places(figures: Sequence[Figure]) -> tuple[list[float], dict[str, float]]:
    """Return the place of each bar from the top, in bars, and the middle of each case."""
    places: list[float] = []
    cases: dict[str, float] = {}
    for case in dict.fromkeys(figure.case for figure in figures):
        first = places[-1] + 1 + GAP if places else 0.0
        count = sum(figure.case == case for figure in figures)
        places += [first + bar for bar in range(count)]
        cases[case] = first + (count - 1) / 2
    return places, cases


def _bars(axes: Axes, figures: Sequence[Figure], places: Sequence[float]) -> None:
    """Draw a bar, its spread and its number for each figure."""
    named: set[str] = set()
    for figure, place in zip(figures, places, strict=True):
        label = "" if figure.relay in named else figure.relay
        named.add(figure.relay)
        colour = COLOURS.get(figure.relay, OTHER_COLOUR)
        [bar] = axes.barh(place, max(0.0, figure.median), height=0.86, color=colour, label=label)
        bar.set_gid(f"bar: {figure.case}: {figure.relay}")
        if len(figure.values) > 1:
            spread = [[figure.median - figure.lowest], [figure.highest - figure.median]]
            axes.errorbar(figure.median, place, xerr=spread, color="#222222", linewidth=1, capsize=2)
        text = number(figure.median) + ("+" if figure.is_bound else "")
        end = (max(0.0, figure.highest), place)
        axes.annotate(text, end, xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def _has_bars(figures: Sequence[Figure]) -> bool:
    return any(figure.highest > 0 for figure in figures)
