"""The configuration files on disk, compared with the configuration that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mcrelay.config.changes import Changes
from mcrelay.config.problems import Problem

MAX_PROBLEMS = 20  # in JSON; `mcrelay check` prints all


class FilesState(StrEnum):
    """What a reload would do with the files."""

    RUNNING = "running"
    """The files run."""
    DIFFER = "differ"
    """The files are valid, and differ from what runs: a reload would apply them."""
    INVALID = "invalid"
    """The files are invalid, or cannot be read: a reload would reject them, and a start would fail."""


@dataclass(frozen=True, slots=True)
class FilesOnDisk:
    """The files as the daemon has read them last: their state, and what a reload would change or report."""

    state: FilesState = FilesState.RUNNING
    changes: Changes = field(default_factory=Changes)
    problems: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        match self.state:
            case FilesState.RUNNING:
                return "the files are the same as what runs"
            case FilesState.DIFFER:
                return f"the files differ from what runs ({self.changes}): `mcrelay reload` applies them"
            case _:
                return f"the files are invalid: {self.problems[0]}; a reload or a restart would refuse them"

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that clients see."""
        return {
            "state": str(self.state),
            "changes": self.changes.as_json(),
            "problems": [problem.as_json() for problem in self.problems[:MAX_PROBLEMS]],
            "problem_count": len(self.problems),
        }


def has_changes(files: Mapping[str, Any]) -> bool:
    """Return whether a reload of files, given as JSON, would add, change or remove a rule, or a setting."""
    changes = files["changes"]
    return any(changes.get(kind) for kind in ("added_count", "changed_count", "removed_count", "settings"))
