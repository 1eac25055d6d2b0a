"""How long the benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Times in seconds: `paced` at a steady rate, `pace` at each of many rates.

    A search ends when the rate is known to within a factor of `precision`.
    """

    name: str
    runs: int
    transfer: float
    precision: float
    paced: float
    pace: float
    idle: float
    is_thorough: bool


FULL = Effort("full", runs=3, transfer=0.6, precision=1.04, paced=2.0, pace=0.8, idle=10.0, is_thorough=True)
QUICK = Effort(
    "quick", runs=1, transfer=0.4, precision=1.15, paced=1.0, pace=0.5, idle=3.0, is_thorough=False
)
