"""What a rule does at the moment, and why."""

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
    """The state of a rule, and the reason where it is not simply active."""

    state: RuleState
    reason: str = ""

    def as_json(self) -> list[str]:
        """Return the verdict as the picture has it."""
        return [str(self.state), self.reason]
