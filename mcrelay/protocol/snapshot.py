"""What clients can see of the daemon, and the shortest message that brings a copy of it up to date.

A picture maps the names of sections to values of JSON. Some sections are maps that a change touches in few
places; the others are small, and replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

MAPS = ("rules", "verdicts", "interfaces", "processes")
MOST_SET = 500  # values of a section in a message


class JsonValue(Protocol):
    """A value of a picture that becomes JSON only when it is told, because there are many like it."""

    def as_json(self) -> object:
        """Return it as JSON has it."""


Picture = Mapping[str, Any]
Section = Mapping[str, Any]


def changes(before: Picture, after: Picture) -> dict[str, Any]:
    """Return what turns `before` into `after`, which has all sections that `before` has; empty when equal."""
    message = {}
    for name, value in after.items():
        if _is_same(before, name, value):
            continue
        if name not in MAPS:
            message[name] = value
        elif edits := _edits(before.get(name, {}), value):
            message[name] = edits
    return message


def parts(message: Mapping[str, Any], most: int = MOST_SET) -> Iterator[dict[str, Any]]:
    """Cut a message that sets very many values into small ones, which take less room on their way.

    The last one has all that is left, so that a reload's verdict comes after the rules that it speaks of.
    """
    rest = dict(message)
    for name in MAPS:
        added = list(message.get(name, {}).get("set", {}).items())
        whole = len(added) // most * most
        for start in range(0, whole, most):
            yield {name: {"set": dict(added[start : start + most])}}
        if whole:
            rest[name] = {**message[name], "set": dict(added[whole:])}
    yield rest


def merged(picture: Picture, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `picture` becomes with the changes of a message."""
    return {
        **picture,
        **{
            name: _edited(picture.get(name, {}), value) if name in MAPS else value
            for name, value in message.items()
        },
    }


def _edits(before: Section, after: Section) -> dict[str, Any]:
    edits: dict[str, Any] = {}
    if added := {name: value for name, value in after.items() if not _is_same(before, name, value)}:
        edits["set"] = added
    if gone := [name for name in before if name not in after]:
        edits["gone"] = gone
    # Rules are shown in the order of the file, which an edit in place changes seldom.
    if (order := list(after)) != list(_edited(before, edits)):
        edits["order"] = order
    return edits


def _is_same(before: Mapping[str, Any], name: str, value: object) -> bool:
    # What was not drawn anew is the same object, which is quicker to see than that all in it is equal.
    return name in before and (before[name] is value or before[name] == value)


def _edited(section: Section, edits: Mapping[str, Any]) -> dict[str, Any]:
    result = {**section, **edits.get("set", {})}
    for name in edits.get("gone", ()):
        del result[name]
    return {name: result[name] for name in edits.get("order", result)}
