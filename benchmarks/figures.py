"""What was measured: a question, a figure for each case and relay, and how they compare."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """What a user would ask, the unit of the answer, and how it was found out."""

    key: str
    title: str
    unit: str
    method: str
    is_more_better: bool = False

    @property
    def scale(self) -> str:
        """The unit, and which end of the scale one wants."""
        return f"{self.unit}; {'more' if self.is_more_better else 'less'} is better"


@dataclass(frozen=True, slots=True)
class Figure:
    """The answer for one case and one relay: one value of each run.

    Where it `is_bound`, the relay may do better than that: more was not asked of it.
    """

    question: Question
    case: str
    relay: str
    values: tuple[float, ...]
    is_bound: bool = False

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def lowest(self) -> float:
        """The lowest value of all runs."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The highest value of all runs."""
        return max(self.values)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value, of one run."""

    question: Question
    case: str
    relay: str
    value: float
    is_bound: bool = False


def gathered(samples: Iterable[Sample]) -> list[Figure]:
    """Return the figures of all samples, in the order in which they first came."""
    found: dict[tuple[Question, str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.question, sample.case, sample.relay), []).append(sample)
    return [
        Figure(*key, tuple(one.value for one in ones), any(one.is_bound for one in ones))
        for key, ones in found.items()
    ]


def ratio(figures: Iterable[Figure], question: Question, case: str, one: str, other: str) -> float | None:
    """Return `one` divided by `other`: the median of the runs, each with the peer of the same run."""
    values = {
        figure.relay: figure.values
        for figure in figures
        if (figure.question, figure.case) == (question, case)
    }
    if one not in values or other not in values:
        return None
    pairs = [a / b for a, b in zip(values[one], values[other], strict=False) if b]
    return statistics.median(pairs) if pairs else None
