"""The chart of the README: the lossless rate, and the CPU time of a packet at the rates of real streams."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from benchmarks import paced, rate
from benchmarks.case import FAN_OUT_8, FAN_OUT_50, ONE_FLOW
from benchmarks.figures import Figure
from benchmarks.plot import COLOURS, NOTE_LETTERS, OTHER_COLOUR, SETTINGS, WIDTH_INCHES, svg
from benchmarks.table import number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

NAME = "overview.svg"
HEIGHT_INCHES = 6.4
RATE_CASES = {
    ONE_FLOW.name: "1 flow",
    FAN_OUT_8.name: "1 flow to 8 groups",
    FAN_OUT_50.name: "1 flow to 50 groups",
}
NOTES = (
    "1400 bytes of payload. Rate: incoming packets; `+`: the generator could not send more. CPU time: all"
    " that takes part (generator, the relay's processes, interrupts), less that of the same traffic without"
    " a relay."
)


def overview(figures: Sequence[Figure], caption: str) -> str:
    """Return the chart as the text of an SVG file, "" if none of its figures was measured."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    rates = [one for one in figures if one.question == rate.QUESTION and one.case in RATE_CASES]
    costs = [one for one in figures if one.question == paced.QUESTION]
    if not rates and not costs:
        return ""
    notes = [*textwrap.wrap(NOTES, NOTE_LETTERS), *textwrap.wrap(caption, NOTE_LETTERS)]
    with rc_context(SETTINGS):
        canvas = Canvas(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
        axes = canvas.subplot_mosaic([["rate", "rate"], ["smooth", "bursts"]])
        _draw_rates(axes["rate"], rates)
        _draw_costs(axes["smooth"], costs, paced.SMOOTH_S)
        _draw_costs(axes["bursts"], costs, paced.BURST_S)
        handles = {label: line for one in axes.values() for line, label in _legend(one)}
        canvas.legend(handles.values(), handles, loc="outside upper left", ncols=len(handles), frameon=False)
        canvas.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=7, color="#666666")
        return svg(canvas)


def _draw_rates(axes: Axes, figures: Sequence[Figure]) -> None:
    """Draw a group of bars for each case."""
    relays = list(dict.fromkeys(one.relay for one in figures))
    width = 0.86 / max(1, len(relays))
    for one in figures:
        place = list(RATE_CASES).index(one.case) + (relays.index(one.relay) - (len(relays) - 1) / 2) * width
        label = one.relay if one.case == ONE_FLOW.name else ""
        axes.bar(place, one.median, width=0.92 * width, color=_colour(one.relay), label=label)
        text = number(one.median) + ("+" if one.is_bound else "")
        axes.annotate(text, (place, one.median), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xticks(range(len(RATE_CASES)), list(RATE_CASES.values()))
    axes.tick_params(axis="x", length=0)
    axes.set_title("Packets a second with none lost (kpps)", loc="left", fontweight="bold")


def _draw_costs(axes: Axes, figures: Sequence[Figure], round_s: float) -> None:
    """Draw a line for each relay, without costs that are less than the noise; both axes are logarithmic."""
    paces = [paced.Pace(one, round_s) for one in paced.RATES]
    for relay in dict.fromkeys(one.relay for one in figures):
        known = {one.case: one.median for one in figures if one.relay == relay and one.lowest > 0}
        points = [(pace.rate / 1000, known[pace.label]) for pace in paces if pace.label in known]
        if points:
            axes.plot(*zip(*points, strict=True), color=_colour(relay), marker="o", ms=3, label=relay)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = [pace.rate // 1000 for pace in paces]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(color="#dddddd")
    axes.set_xlabel("kpps")
    shape = "in bursts of 1 ms" if round_s == paced.BURST_S else "smooth"
    axes.set_title(f"CPU time of a packet (us), {shape}", loc="left", fontweight="bold")


def _legend(axes: Axes) -> Iterator[tuple[Artist, str]]:
    """Yield what the legend shows for each relay."""
    yield from zip(*axes.get_legend_handles_labels(), strict=True)


def _colour(relay: str) -> str:
    return COLOURS.get(relay, OTHER_COLOUR)
