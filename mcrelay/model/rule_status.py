"""The status of a rule: its state and the reason for the state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RuleState(StrEnum):
    """A state of a rule, as `status` shows it."""

    ACTIVE = "active"
    PAUSED = "paused"
    UNRESOLVED = "unresolved"
    FAILED = "failed"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """The state of a rule, and a reason if the rule is not completely active."""

    state: RuleState
    reason: str = ""

    def with_reasons(self, *reasons: str) -> RuleStatus:
        """Return this status with `reasons` appended to its reason; empty texts are skipped."""
        return RuleStatus(self.state, join_reasons(self.reason, *reasons))

    def as_json(self) -> list[str]:
        """Return the status as in the snapshot for the control process: a list of state and reason."""
        return [str(self.state), self.reason]


def join_reasons(*reasons: str) -> str:
    """Return the reasons that are not empty as one text, separated by semicolons."""
    return "; ".join(filter(None, reasons))
