"""An entry of the history: an accepted configuration, the time and cause of its acceptance, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON_VERSION = 1  # of an entry


@dataclass(frozen=True, slots=True)
class Entry:
    """A configuration that was accepted at `time` (seconds since 1970), with the names and texts of files.

    `outcome`, `cause`, `changes` and `reason` are from the result of the reload. `on_trial` is set until an
    operator confirms the configuration.
    """

    number: int
    generation: int
    time: float
    hash: str
    outcome: str
    cause: str
    on_trial: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    contents: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    """Of a rollback: what was rolled back, and why."""

    def as_json(self) -> dict[str, Any]:
        """Return the document that `parse_entry` reads."""
        return {
            "version": JSON_VERSION,
            "number": self.number,
            "generation": self.generation,
            "time": self.time,
            "hash": self.hash,
            "outcome": self.outcome,
            "cause": self.cause,
            "on_trial": self.on_trial,
            "changes": self.changes,
            "contents": self.contents,
            "reason": self.reason,
        }


def parse_entry(document: Mapping[str, Any]) -> Entry | None:
    """Return the entry in a document, or None if the document is not an entry of this version."""
    match document:
        case {
            "version": 1,
            "number": int(number),
            "generation": int(generation),
            "time": int() | float() as time,
            "hash": str(content),
            "outcome": str(outcome),
            "cause": str(cause),
            "on_trial": bool(on_trial),
            "changes": dict(changes),
            "contents": list(files),
        } if all(map(_is_file, files)):
            contents = tuple((name, text) for name, text in files)
            reason = str(document.get("reason", ""))  # earlier versions wrote none
            return Entry(
                number, generation, time, content, outcome, cause, on_trial, changes, contents, reason
            )
        case _:
            return None


def _is_file(value: object) -> bool:
    match value:
        case [str(), str()]:
            return True
        case _:
            return False
