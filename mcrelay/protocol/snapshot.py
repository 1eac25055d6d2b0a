"""The snapshot of the daemon that the control process shows, and the delta that brings a copy up to date.

A snapshot maps the names of sections to JSON values. The sections in MAPS are maps of which a change touches
few entries: of those a delta has the entries that are set, the names that are gone and, where it changed, the
order. All other sections are small, and a delta has them whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

MAPS = ("rules", "statuses", "interfaces", "processes")
MAX_ENTRIES = 500  # of a section in one message


class JsonValue(Protocol):
    """A value of a snapshot that is turned into JSON only when it is sent, because there are many like it."""

    def as_json(self) -> object:
        """Return the value as JSON has it."""


Snapshot = Mapping[str, Any]
Section = Mapping[str, Any]
Delta = Mapping[str, Any]


def delta(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Return what turns `before` into `after`; empty where they are equal.

    `after` has all sections that `before` has.
    """
    changed = {}
    for name, value in after.items():
        if _is_same(before, name, value):
            continue
        if name not in MAPS:
            changed[name] = value
        elif edits := _edits(before.get(name, {}), value):
            changed[name] = edits
    return changed


def split_delta(whole: Delta, limit: int = MAX_ENTRIES) -> Iterator[dict[str, Any]]:
    """Split a delta that sets many entries into deltas that set at most `limit` of a section each.

    All other changes come with the last one, so that a reload's result arrives after the rules it is about.
    """
    rest = dict(whole)
    for name in MAPS:
        entries = list(whole.get(name, {}).get("set", {}).items())
        early = len(entries) // limit * limit
        for start in range(0, early, limit):
            yield {name: {"set": dict(entries[start : start + limit])}}
        if early:
            rest[name] = {**whole[name], "set": dict(entries[early:])}
    yield rest


def merged(snapshot: Snapshot, changed: Delta) -> dict[str, Any]:
    """Return what `snapshot` becomes with a delta."""
    return {
        **snapshot,
        **{
            name: _edited(snapshot.get(name, {}), value) if name in MAPS else value
            for name, value in changed.items()
        },
    }


def _edits(before: Section, after: Section) -> dict[str, Any]:
    edits: dict[str, Any] = {}
    if added := {name: value for name, value in after.items() if not _is_same(before, name, value)}:
        edits["set"] = added
    if gone := [name for name in before if name not in after]:
        edits["gone"] = gone
    # Rules are shown in the order of the file, which an edit in place seldom changes.
    if (order := list(after)) != list(_edited(before, edits)):
        edits["order"] = order
    return edits


def _is_same(before: Mapping[str, Any], name: str, value: object) -> bool:
    # An entry that was not built anew is the same object: that is quicker to see than equality.
    return name in before and (before[name] is value or before[name] == value)


def _edited(section: Section, edits: Mapping[str, Any]) -> dict[str, Any]:
    result = {**section, **edits.get("set", {})}
    for name in edits.get("gone", ()):
        del result[name]
    return {name: result[name] for name in edits.get("order", result)}
