"""The results: a question, a figure for each case and relay, and ratios between them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A user's question, the unit of its answer, and the method of measurement."""

    key: str
    title: str
    unit: str
    method: str
    is_more_better: bool = False

    @property
    def scale(self) -> str:
        """The unit, and whether more or less is better."""
        return f"{self.unit}; {'more' if self.is_more_better else 'less'} is better"


@dataclass(frozen=True, slots=True)
class Figure:
    """The answer for one case and one relay, with one value for each run.

    If `is_bound`, the generator was the limit, and the relay may be faster.
    """

    question: Question
    case: str
    relay: str
    values: tuple[float, ...]
    is_bound: bool = False

    @property
    def median(self) -> float:
        """The median of all runs."""
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
    """One value of one run."""

    question: Question
    case: str
    relay: str
    value: float
    is_bound: bool = False


def group_samples(samples: Iterable[Sample]) -> list[Figure]:
    """Return the figures of all samples, in the order of their first sample."""
    found: dict[tuple[Question, str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.question, sample.case, sample.relay), []).append(sample)
    return [
        Figure(*key, tuple(one.value for one in ones), any(one.is_bound for one in ones))
        for key, ones in found.items()
    ]


def ratio(figures: Iterable[Figure], question: Question, case: str, one: str, other: str) -> float | None:
    """Return the median over all runs of `one` divided by `other`, None if a value is missing."""
    values = {
        figure.relay: figure.values
        for figure in figures
        if (figure.question, figure.case) == (question, case)
    }
    if one not in values or other not in values:
        return None
    pairs = [a / b for a, b in zip(values[one], values[other], strict=False) if b]
    return statistics.median(pairs) if pairs else None
