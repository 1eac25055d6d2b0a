"""An entry of the history: a config that was accepted, when and why, with all that its files said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SHAPE = 1  # version of an entry


@dataclass(frozen=True, slots=True)
class Entry:
    """A config that was accepted; `time` is in seconds since 1970, `contents` are names and texts of files.

    `outcome` and `cause` are those of its verdict, `changes` what it changed; `on_trial`: it was one to be
    confirmed.
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

    def as_json(self) -> dict[str, Any]:
        """Return what `entry_of` reads."""
        return {
            "version": SHAPE,
            "number": self.number,
            "generation": self.generation,
            "time": self.time,
            "hash": self.hash,
            "outcome": self.outcome,
            "cause": self.cause,
            "on_trial": self.on_trial,
            "changes": self.changes,
            "contents": self.contents,
        }


def entry_of(document: Mapping[str, Any]) -> Entry | None:
    """Return the entry that a document tells of, None where it tells of none."""
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
            return Entry(number, generation, time, content, outcome, cause, on_trial, changes, contents)
        case _:
            return None


def _is_file(value: object) -> bool:
    match value:
        case [str(), str()]:
            return True
        case _:
            return False
