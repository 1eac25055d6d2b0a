"""The goals of the design beside the results. A goal that is not reached is no error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks import footprint, latency, paced, rate, saturation, scale
from benchmarks.case import DIFFERING, FLOWS_50, ONE_FLOW, RULES_100, RULES_10000
from benchmarks.figures import Figure, Question, ratio

US = "mcrelay"


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, and the measured value; None if it was not measured."""

    text: str
    limit: float
    unit: str
    measured: float | None
    is_floor: bool = False

    @property
    def verdict(self) -> str:
        """Whether the goal is reached."""
        if self.measured is None:
            return "not measured"
        is_reached = self.measured >= self.limit if self.is_floor else self.measured <= self.limit
        return "reached" if is_reached else "not reached"

    @property
    def wanted(self) -> str:
        """The limit as text."""
        return f"at {'least' if self.is_floor else 'most'} {self.limit:,g} {self.unit}".rstrip()


def goals(figures: Sequence[Figure]) -> list[Goal]:
    """Return every goal that this benchmark measures."""
    return [*_throughput(figures), *_paced(figures), *_resources(figures)]


def _throughput(figures: Sequence[Figure]) -> Iterator[Goal]:
    find = _finder(figures)
    flow = ONE_FLOW.name
    cost = find(saturation.QUESTION, flow)
    yield Goal("lossless rate, 1 flow, 1400 B", 600, "kpps", find(rate.QUESTION, flow), is_floor=True)
    beside = ratio(figures, rate.QUESTION, flow, US, "socat")
    yield Goal("lossless rate beside socat's", 3, "times", beside, is_floor=True)
    yield Goal("CPU time a packet, equal lengths", 0.7, "us", cost)
    yield Goal("CPU time a packet, lengths differ", 1.6, "us", find(saturation.QUESTION, DIFFERING.name))
    for case, limit in ((FLOWS_50, 1.25), (RULES_10000, 1.10)):
        yield Goal(
            f"{case.name}: CPU time beside 1 flow",
            limit,
            "times",
            _over(find(saturation.QUESTION, case.name), cost),
        )
    yield Goal("latency at 10 kpps, p99", 200, "us", _first(figures, latency.P99))


def _paced(figures: Sequence[Figure]) -> Iterator[Goal]:
    """Yield the goals at the rates of real streams."""
    for kpps in paced.QUICK_RATES:
        pace = paced.Pace(kpps, paced.SMOOTH_S).label
        beside = ratio(figures, paced.QUESTION, pace, US, "socat")
        yield Goal(f"CPU time beside socat's, {pace}", 1, "times", beside)
    find = _finder(figures)
    bursts = [find(paced.QUESTION, paced.Pace(one, paced.BURST_S).label) for one in paced.RATES[1:]]
    steps = [_over(after, before) for before, after in pairwise(bursts)]
    known = [step for step in steps if step is not None]
    yield Goal("CPU time in bursts beside the next lower rate", 1.05, "times", max(known, default=None))


def _resources(figures: Sequence[Figure]) -> Iterator[Goal]:
    find = _finder(figures)
    yield Goal("wake-ups a second at idle", 1, "", find(footprint.WAKEUPS, footprint.label(ONE_FLOW)))
    for goal, work, case, limit in (
        ("check of 10,000 rules", scale.CHECK, RULES_10000, 2),
        ("reload of 10,000 rules, one changed", scale.RELOAD, RULES_10000, 2.5),
        ("status of 100 rules", scale.STATUS, RULES_100, 0.1),
        ("status of 10,000 rules", scale.STATUS, RULES_10000, 0.4),
    ):
        yield Goal(goal, limit, "s", find(scale.QUESTION, scale.label(work, case)))
    for label in map(footprint.label, (ONE_FLOW, RULES_10000)):
        sizes = [one.median for one in figures if _is_memory(one) and one.case.startswith(f"{label}:")]
        yield Goal(f"memory of the largest process, {label}", 60, "MB", max(sizes, default=None))


def _is_memory(figure: Figure) -> bool:
    return figure.question == footprint.MEMORY and figure.relay == US


def _finder(figures: Sequence[Figure]) -> Callable[[Question, str], float | None]:
    ours = {(figure.question, figure.case): figure.median for figure in figures if figure.relay == US}
    return lambda question, case: ours.get((question, case))


def _first(figures: Sequence[Figure], question: Question) -> float | None:
    return next((one.median for one in figures if one.question == question and one.relay == US), None)


def _over(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None
