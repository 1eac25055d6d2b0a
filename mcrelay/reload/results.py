"""What became of each reload, and when that may be said. Time is an argument.

A verdict stands once all that was accepted before it runs: whoever asked for a reload that the next one
overtook has an answer, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mcrelay.config.changes import Changes
from mcrelay.config.problems import Problem

REMEMBERED = 8  # verdicts before the last one
MOST_PROBLEMS = 1000


class Outcome(StrEnum):
    """How a reload ended."""

    STARTED = "started"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    """What was confirmed runs again, and the files do not."""
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    """Nobody looked at the files: what was asked for cannot be had."""


class Cause(StrEnum):
    """What a reload began with."""

    START = "start"
    HANGUP = "hangup"
    WATCH = "watch"
    TRY = "try"
    CONFIRM = "confirm"
    DEADLINE = "deadline"


_RUNNING_ANEW = (Outcome.STARTED, Outcome.APPLIED, Outcome.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What became of reload `number`, the generation that runs since, and what was wrong with the files."""

    number: int
    cause: Cause
    outcome: Outcome
    generation: int
    changes: Changes = field(default_factory=Changes)
    problems: tuple[Problem, ...] = ()

    def as_json(self, at: float) -> dict[str, Any]:
        """Return the verdict as clients get it; `at` is when it stood, in seconds since 1970."""
        shown = self.problems[:MOST_PROBLEMS]
        return {
            "finished": self.number,
            "at": at,
            "cause": str(self.cause),
            "outcome": str(self.outcome),
            "generation": self.generation,
            "changes": self.changes.as_json(),
            "problems": [problem.as_json() for problem in shown],
            "problem_count": len(self.problems),
            "lines": [line for problem in shown for line in (str(problem), *problem.excerpt())],
        }


class Reloads:
    """The reloads that have begun, the verdicts that wait, and those that stand. The start is number 1."""

    def __init__(self) -> None:
        self.begun = 0
        self.cause = Cause.START
        """What the last one began with."""
        self._waiting: list[ReloadResult] = []
        self._standing: deque[dict[str, Any]] = deque(maxlen=REMEMBERED + 1)

    @property
    def owes_a_verdict(self) -> bool:
        """Whether somebody has not been told yet what became of a reload."""
        return bool(self._waiting)

    @property
    def waits_for_workers(self) -> bool:
        """Whether something was accepted that does not run yet; else a verdict needs to wait for nothing."""
        return any(verdict.outcome in _RUNNING_ANEW for verdict in self._waiting)

    def begin(self, cause: Cause) -> None:
        """The files are about to be read, or what was confirmed comes back."""
        self.begun += 1
        self.cause = cause

    def decided(
        self,
        outcome: Outcome,
        generation: int,
        changes: Changes | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        """The reload that began last has a verdict, which waits for all that is under way."""
        verdict = ReloadResult(
            self.begun, self.cause, outcome, generation, changes or Changes(), tuple(problems)
        )
        self._waiting.append(verdict)

    def settled(self, at: float) -> list[ReloadResult]:
        """Nothing is under way any more: return the verdicts that stand now."""
        standing, self._waiting = self._waiting, []
        self._standing.extendleft(verdict.as_json(at) for verdict in standing)
        return standing

    def as_json(self) -> dict[str, Any]:
        """Return the last verdict and how many reloads have begun, with the verdicts before it."""
        last, *earlier = self._standing or [{"finished": 0}]
        return {"begun": self.begun, **last, "earlier": earlier}
