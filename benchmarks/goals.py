"""The goals of the design beside the results. A goal that is not reached is no error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks import footprint, latency, paced, rate, saturation, scale
from benchmarks.case import (
    DIFFERING,
    FAN_OUT_8,
    FAN_OUT_50,
    FLOWS_50,
    ONE_FLOW,
    RULES_100,
    RULES_1000,
    RULES_10000,
)
from benchmarks.figures import Figure, Question, ratio
from benchmarks.peers import EXCLUSIVE, KERNEL, USERSPACE


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, and the measured value; None if it was not measured.

    If `is_bound`, the generator was the limit, and the value may be better.
    """

    text: str
    limit: float
    unit: str
    measured: float | None
    is_floor: bool = False
    is_bound: bool = False

    @property
    def verdict(self) -> str:
        """Whether the goal is reached."""
        if self.measured is None:
            return "not measured"
        if self.measured < 0:  # a difference of two CPU times that the noise exceeds
            return "less than the noise"
        is_reached = self.measured >= self.limit if self.is_floor else self.measured <= self.limit
        if not is_reached and self.is_bound:
            return "generator too slow"
        return "reached" if is_reached else "not reached"

    @property
    def wanted(self) -> str:
        """The limit as text."""
        return f"at {'least' if self.is_floor else 'most'} {self.limit:,g} {self.unit}".rstrip()


def goals(figures: Sequence[Figure]) -> list[Goal]:
    """Return every goal that this benchmark measures."""
    return [
        *_kernel(figures, "kernel", KERNEL.name),
        *_kernel(figures, "exclusive", EXCLUSIVE.name),
        *_userspace(figures),
        *_paced(figures),
        *_resources(figures),
    ]


def _kernel(figures: Sequence[Figure], plane: str, us: str) -> Iterator[Goal]:
    """Yield the goals of the kernel data plane, most of them beside other relays in the kernel."""
    flow = ONE_FLOW.name

    def beside(question: Question, case: str, peer: str) -> float | None:
        return ratio(figures, question, case, us, peer)

    def rate_goal(case: str, times: float) -> Goal:
        is_bound = _is_bound(figures, case, us)
        value = beside(rate.QUESTION, case, "nftables")
        text = f"{plane}: lossless rate beside nftables', {case}"
        return Goal(text, times, "times", value, is_floor=True, is_bound=is_bound)

    for peer, limit in (("smcroute", 0.4), ("nftables", 1), ("nftables dup", 1)):
        value = beside(saturation.QUESTION, flow, peer)
        yield Goal(f"{plane}: CPU time a packet beside that of {peer}, {flow}", limit, "times", value)
    yield rate_goal(flow, 1.5)
    for case in (FAN_OUT_8.name, FAN_OUT_50.name):
        value = beside(saturation.QUESTION, case, "nftables")
        yield Goal(f"{plane}: CPU time a copy beside nftables', {case}", 1, "times", value)
        yield rate_goal(case, 1)
    find = _finder(figures, us)
    many, one = (find(saturation.QUESTION, case.name) for case in (RULES_10000, ONE_FLOW))
    yield Goal(f"{plane}: CPU time a packet, 10,000 rules beside 1", 1.05, "times", _over(many, one))
    yield Goal(f"{plane}: latency at 10 kpps, p99", 60, "us", find(latency.P99, latency.CASE))
    value = beside(latency.P99, latency.CASE, "smcroute")
    yield Goal(f"{plane}: latency at 10 kpps, p99 beside smcroute's", 1, "times", value)


def _userspace(figures: Sequence[Figure]) -> Iterator[Goal]:
    find = _finder(figures, USERSPACE.name)
    flow = ONE_FLOW.name
    cost = find(saturation.QUESTION, flow)
    yield Goal("userspace: lossless rate, 1 flow, 1400 B", 600, "kpps", find(rate.QUESTION, flow), True)
    beside = ratio(figures, rate.QUESTION, flow, USERSPACE.name, "socat")
    yield Goal("userspace: lossless rate beside socat's", 3, "times", beside, is_floor=True)
    yield Goal("userspace: CPU time a packet, equal lengths", 0.7, "us", cost)
    differing = find(saturation.QUESTION, DIFFERING.name)
    yield Goal("userspace: CPU time a packet, lengths differ", 1.6, "us", differing)
    for case, limit in ((FLOWS_50, 1.25), (RULES_10000, 1.10)):
        value = _over(find(saturation.QUESTION, case.name), cost)
        yield Goal(f"userspace: CPU time a packet beside 1 flow, {case.name}", limit, "times", value)
    yield Goal("userspace: latency at 10 kpps, p99", 200, "us", find(latency.P99, latency.CASE))


def _paced(figures: Sequence[Figure]) -> Iterator[Goal]:
    """Yield the goals at the rates of real streams."""
    for plane, us, limit in (
        ("kernel", KERNEL.name, 0.1),
        ("exclusive", EXCLUSIVE.name, 0.1),
        ("userspace", USERSPACE.name, 1),
    ):
        for kpps in paced.QUICK_RATES:
            pace = paced.Pace(kpps, paced.SMOOTH_S).label
            beside = ratio(figures, paced.QUESTION, pace, us, "socat")
            yield Goal(f"{plane}: CPU time a packet beside socat's, {pace}", limit, "times", beside)
    find = _finder(figures, USERSPACE.name)
    bursts = [find(paced.QUESTION, paced.Pace(one, paced.BURST_S).label) for one in paced.RATES[1:]]
    steps = [_over(after, before) for before, after in pairwise(bursts)]
    known = [step for step in steps if step is not None]
    step = max(known, default=None)
    yield Goal("userspace: CPU time in bursts beside the next lower rate", 1.05, "times", step)


def _resources(figures: Sequence[Figure]) -> Iterator[Goal]:
    for plane, us in (("kernel", KERNEL.name), ("userspace", USERSPACE.name)):
        find = _finder(figures, us)
        wakeups = find(footprint.WAKEUPS, footprint.label(ONE_FLOW))
        yield Goal(f"{plane}: wake-ups a second at idle", 1, "", wakeups)
        if us == KERNEL.name:
            count = find(footprint.COUNT, footprint.label(ONE_FLOW))
            yield Goal("kernel: processes", 2, "", count)
        added = find(scale.QUESTION, scale.label(scale.ADD, RULES_1000))
        yield Goal(f"{plane}: `mcrelay add` among 1,000 rules", 0.3, "s", added)
        for goal, work, case, limit in (
            ("check of 10,000 rules", scale.CHECK, RULES_10000, 2),
            ("reload of 10,000 rules, one changed", scale.RELOAD, RULES_10000, 2.5),
            ("status of 100 rules", scale.STATUS, RULES_100, 0.1),
            ("status of 10,000 rules", scale.STATUS, RULES_10000, 0.4),
        ):
            yield Goal(f"{plane}: {goal}", limit, "s", find(scale.QUESTION, scale.label(work, case)))
        for label in map(footprint.label, (ONE_FLOW, RULES_10000)):
            sizes = [
                one.median for one in figures if _is_memory(one, us) and one.case.startswith(f"{label}:")
            ]
            size = max(sizes, default=None)
            yield Goal(f"{plane}: memory of the largest process, {label}", 60, "MB", size)


def _is_memory(figure: Figure, us: str) -> bool:
    return figure.question == footprint.MEMORY and figure.relay == us


def _is_bound(figures: Sequence[Figure], case: str, us: str) -> bool:
    return any(
        one.is_bound for one in figures if (one.question, one.case, one.relay) == (rate.QUESTION, case, us)
    )


def _finder(figures: Sequence[Figure], us: str) -> Callable[[Question, str], float | None]:
    return lambda question, case: _median(figures, question, case, us)


def _median(figures: Sequence[Figure], question: Question, case: str, us: str) -> float | None:
    wanted = (question, case, us)
    return next(
        (one.median for one in figures if (one.question, one.case, one.relay) == wanted),
        None,
    )


def _over(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None
