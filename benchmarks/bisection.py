"""A search for the highest rate at which no packet is lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Attempt(NamedTuple):
    """The result of one try: the rate that the generator really sent, and whether every packet arrived."""

    rate: float
    is_lossless: bool


class Found(NamedTuple):
    """A lossless rate. If `is_bound`, the generator could not send more, and the relay may be faster."""

    rate: float
    is_bound: bool


def highest(attempt: Callable[[float], Attempt], most: float, precision: float, least: float = 1000) -> Found:
    """Return the highest lossless rate up to `most`, to within a factor of `precision`.

    A generator that shares processors with the relay may send less than it is asked for, so the search uses
    the rates that it really sent. When it falls behind for the second time, the search ends. The rate is 0 if
    packets are lost even at `least`.
    """
    first = attempt(most)
    if first.is_lossless:
        return Found(first.rate, is_bound=True)
    lossless, lossy, behind = 0.0, min(most, first.rate), 0
    while lossy > least and lossy > precision * max(lossless, least / 2):
        asked = math.sqrt(lossless * lossy) if lossless else lossy / 2
        tried = attempt(asked)
        if tried.is_lossless:
            lossless = max(lossless, tried.rate)
            behind += tried.rate * precision < asked
            if behind == 2:
                return Found(lossless, is_bound=True)
        else:
            lossy = min(asked, max(tried.rate, lossless))
    return Found(lossless, is_bound=False)
