"""The result of each reload, and when it may be published. Time is an argument.

A result is published once everything that was accepted before it runs. A reload that the next one overtakes
has a result of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mcrelay.config.changes import Changes
from mcrelay.config.problems import Problem

MAX_EARLIER_RESULTS = 8  # before the last one
MAX_PROBLEMS = 1000  # of one result, in JSON


class Outcome(StrEnum):
    """How a reload ended."""

    STARTED = "started"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    """The config that was confirmed last runs again instead of the files."""
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    """The request of an operator was refused; the files were not read."""


class Cause(StrEnum):
    """Why a reload began."""

    START = "start"
    HANGUP = "hangup"
    WATCH = "watch"
    TRY = "try"
    CONFIRM = "confirm"
    DEADLINE = "deadline"


_NEW_CONFIG = (Outcome.STARTED, Outcome.APPLIED, Outcome.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """How reload `number` ended, the generation that runs since then, and the problems of its files."""

    number: int
    cause: Cause
    outcome: Outcome
    generation: int
    changes: Changes = field(default_factory=Changes)
    problems: tuple[Problem, ...] = ()

    @property
    def is_about_files(self) -> bool:
        """Whether the files were read and decided on, so that this answers a request for a reload, too."""
        return self.cause not in (Cause.CONFIRM, Cause.DEADLINE) and self.outcome is not Outcome.REFUSED

    def as_json(self, at: float) -> dict[str, Any]:
        """Return the result as clients get it; `at` is the time of its publication, in seconds since 1970."""
        shown = self.problems[:MAX_PROBLEMS]
        return {
            "finished": self.number,
            "at": at,
            "cause": str(self.cause),
            "outcome": str(self.outcome),
            "is_about_files": self.is_about_files,
            "generation": self.generation,
            "changes": self.changes.as_json(),
            "problems": [problem.as_json() for problem in shown],
            "problem_count": len(self.problems),
            "lines": [line for problem in shown for line in (str(problem), *problem.excerpt())],
        }


class Reloads:
    """The number of reloads that have begun, and their results. The start of the daemon is reload 1."""

    def __init__(self) -> None:
        self.begun = 0
        self.cause = Cause.START
        """Why the last reload began."""
        self._waiting: list[ReloadResult] = []
        self._published: deque[dict[str, Any]] = deque(maxlen=MAX_EARLIER_RESULTS + 1)

    @property
    def has_unpublished_results(self) -> bool:
        """Whether a reload has a result that clients cannot see yet."""
        return bool(self._waiting)

    @property
    def waits_for_workers(self) -> bool:
        """Whether an unpublished result is that of a new config, which the workers may not run yet."""
        return any(result.outcome in _NEW_CONFIG for result in self._waiting)

    def begin(self, cause: Cause) -> None:
        """A reload begins: the files are about to be read, or the confirmed config to be restored."""
        self.begun += 1
        self.cause = cause

    def record_outcome(
        self,
        outcome: Outcome,
        generation: int,
        changes: Changes | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        """The reload that began last has this result, which waits for its publication."""
        result = ReloadResult(
            self.begun, self.cause, outcome, generation, changes or Changes(), tuple(problems)
        )
        self._waiting.append(result)

    def publish(self, at: float) -> list[ReloadResult]:
        """Publish the results that waited, and return them: all that was accepted runs now."""
        published, self._waiting = self._waiting, []
        self._published.extendleft(result.as_json(at) for result in published)
        return published

    def as_json(self) -> dict[str, Any]:
        """Return the last published result, the earlier ones, and how many reloads have begun."""
        last, *earlier = self._published or [{"finished": 0}]
        return {"begun": self.begun, **last, "earlier": earlier}
