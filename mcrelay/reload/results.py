"""The results of reloads, and their publication.

A result is published when everything that was accepted before it runs. If a reload begins before the result
of the previous reload is published, each of the two has its own result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from mcrelay.config.changes import Changes
from mcrelay.config.problems import Problem
from mcrelay.model.rule_status import RuleStatus
from mcrelay.reload.degraded import DegradedRule, describe_degraded, find_degraded

MAX_EARLIER_RESULTS = 8  # kept in addition to the last result
MAX_PROBLEMS = 1000  # of a result, in JSON
MAX_DEGRADED = 100  # rules of a result, in JSON


class Outcome(StrEnum):
    """The outcome of a reload."""

    STARTED = "started"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    """The last confirmed configuration was restored; the files differ from it."""
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    """The request of an operator was refused; the files were not read."""


class Cause(StrEnum):
    """The cause of a reload."""

    START = "start"
    HANGUP = "hangup"
    WATCH = "watch"
    TRY = "try"
    CONFIRM = "confirm"
    DEADLINE = "deadline"


_NEW_CONFIG = (Outcome.STARTED, Outcome.APPLIED, Outcome.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """The result of reload `number`: its outcome, the generation after it, and the problems of the files.

    `degraded` are the rules that do not run, or run in part, when the result is published, whether or not the
    reload changed them.
    """

    number: int
    cause: Cause
    outcome: Outcome
    generation: int
    changes: Changes = field(default_factory=Changes)
    problems: tuple[Problem, ...] = ()
    reason: str = ""
    """Of a rollback: what was rolled back, and why."""
    degraded: tuple[DegradedRule, ...] = ()

    @property
    def is_about_files(self) -> bool:
        """True if the files were read and evaluated, so that the result answers a request for a reload."""
        return self.cause not in (Cause.CONFIRM, Cause.DEADLINE) and self.outcome is not Outcome.REFUSED

    def as_json(self, at: float) -> dict[str, Any]:
        """Return the result as JSON for clients; `at` is the time of publication in seconds since 1970."""
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
            "reason": self.reason,
            "lines": [line for problem in shown for line in (str(problem), *problem.excerpt())],
            "degraded": [rule.as_json() for rule in self.degraded[:MAX_DEGRADED]],
            "degraded_count": len(self.degraded),
            "degraded_lines": list(describe_degraded(self.degraded)),
        }


class Reloads:
    """Counts the reloads that have begun, and keeps their results. The start of the daemon is reload 1."""

    def __init__(self) -> None:
        self.begun = 0
        self.cause = Cause.START
        """The cause of the last reload."""
        self._waiting: list[ReloadResult] = []
        self._published: deque[dict[str, Any]] = deque(maxlen=MAX_EARLIER_RESULTS + 1)

    @property
    def has_unpublished_results(self) -> bool:
        """True if a reload has a result that clients cannot see yet."""
        return bool(self._waiting)

    @property
    def waits_for_workers(self) -> bool:
        """True if an unpublished result is about a new configuration, which the workers may not run yet."""
        return any(result.outcome in _NEW_CONFIG for result in self._waiting)

    def begin(self, cause: Cause) -> None:
        """Record that a reload begins; next, files are read or the confirmed configuration is restored."""
        self.begun += 1
        self.cause = cause

    def record_outcome(
        self,
        outcome: Outcome,
        generation: int,
        changes: Changes | None = None,
        problems: Sequence[Problem] = (),
        reason: str = "",
    ) -> None:
        """Record the outcome of the reload that began last; its result waits for publication."""
        result = ReloadResult(
            self.begun, self.cause, outcome, generation, changes or Changes(), tuple(problems), reason
        )
        self._waiting.append(result)

    def publish(self, at: float, statuses: Mapping[str, RuleStatus]) -> list[ReloadResult]:
        """Publish the waiting results and return them. Call this once all accepted changes run.

        `statuses` are those of all rules as of now.
        """
        degraded = find_degraded(statuses)
        published, self._waiting = [replace(result, degraded=degraded) for result in self._waiting], []
        self._published.extendleft(result.as_json(at) for result in published)
        return published

    def as_json(self) -> dict[str, Any]:
        """Return the last published result, the earlier results, and the number of begun reloads."""
        last, *earlier = self._published or [{"finished": 0}]
        return {"begun": self.begun, **last, "earlier": earlier}
