"""The status of a rule: what the rule does at the moment, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RuleState(StrEnum):
    """What a rule does at the moment."""

    ACTIVE = "active"
    PAUSED = "paused"
    UNRESOLVED = "unresolved"
    FAILED = "failed"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """The state of a rule, and the reason where the rule is not simply active."""

    state: RuleState
    reason: str = ""

    def because(self, *reasons: str) -> RuleStatus:
        """Return this status with more reasons behind the reason that it has; empty ones add nothing."""
        return RuleStatus(self.state, join_reasons(self.reason, *reasons))

    def as_json(self) -> list[str]:
        """Return the status as the snapshot for the control process has it: state and reason."""
        return [str(self.state), self.reason]


def join_reasons(*reasons: str) -> str:
    """Return several reasons as one text, without the empty ones."""
    return "; ".join(filter(None, reasons))
