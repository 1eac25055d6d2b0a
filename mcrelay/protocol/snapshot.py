"""Deltas between snapshots of the daemon, which keep the control process's copy of the snapshot up to date.

A snapshot maps the names of sections to JSON values. The sections in MAPS are themselves maps with many
entries, of which few change at a time. For such a section, a delta has the entries that were added or
changed, the names of deleted entries, and the order of all names if it changed. All other sections are small,
and a delta has the whole section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

MAPS = ("rules", "statuses", "interfaces", "processes")
MAX_ENTRIES = 500  # of one section in one message


class JsonValue(Protocol):
    """A value of a snapshot that is converted to JSON only if it is sent, because most are not sent."""

    def as_json(self) -> object:
        """Return the value as types that the json module can encode."""


Snapshot = Mapping[str, Any]
Section = Mapping[str, Any]
Delta = Mapping[str, Any]


def compute_delta(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Return the delta that turns `before` into `after`. The delta of equal snapshots is empty.

    `after` must have all sections that `before` has.
    """
    changed = {}
    for name, value in after.items():
        if name not in MAPS:
            if not _is_same(before, name, value):
                changed[name] = value
        elif before.get(name) is not value and (edits := _edits(before.get(name, {}), value)):
            changed[name] = edits  # equal maps may differ in their order
    return changed


def split_delta(whole: Delta, limit: int = MAX_ENTRIES) -> Iterator[dict[str, Any]]:
    """Split a delta into deltas that set at most `limit` entries of a section each.

    The last delta has all other changes, so that the result of a reload arrives after its rules.
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


def merge_delta(snapshot: Snapshot, changed: Delta) -> dict[str, Any]:
    """Return a new snapshot: `snapshot` with a delta applied to it."""
    return {
        **snapshot,
        **{
            name: _apply_edits(snapshot.get(name, {}), value) if name in MAPS else value
            for name, value in changed.items()
        },
    }


def _edits(before: Section, after: Section) -> dict[str, Any]:
    edits: dict[str, Any] = {}
    if added := {name: value for name, value in after.items() if not _is_same(before, name, value)}:
        edits["set"] = added
    if gone := [name for name in before if name not in after]:
        edits["gone"] = gone
    # Rules are shown in the order of the file. Most edits of the file leave that order as it is.
    if (order := list(after)) != list(_apply_edits(before, edits)):
        edits["order"] = order
    return edits


def _is_same(before: Mapping[str, Any], name: str, value: object) -> bool:
    # Most entries that did not change are the same object, and comparing identity is faster than equality.
    return name in before and (before[name] is value or before[name] == value)


def _apply_edits(section: Section, edits: Mapping[str, Any]) -> dict[str, Any]:
    result = {**section, **edits.get("set", {})}
    for name in edits.get("gone", ()):
        del result[name]
    return {name: result[name] for name in edits.get("order", result)}
