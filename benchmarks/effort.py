"""How much work a benchmark puts into its answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Times in seconds; a search for a rate ends when only a factor of `precision` is not known."""

    name: str
    runs: int
    trial: float
    precision: float
    paced: float
    idle: float
    is_thorough: bool


FULL = Effort("full", runs=3, trial=0.8, precision=1.04, paced=2.0, idle=10.0, is_thorough=True)
QUICK = Effort("quick", runs=1, trial=0.4, precision=1.15, paced=1.0, idle=3.0, is_thorough=False)
