"""Where each key and each value of a YAML text stands.

A sound file is asked for few of them, and all of them take more memory than its data does: so they are found
by reading the text once more, when something is to be shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from mcrelay.config.problems import Key

Event = Any  # one of PyYAML's


@dataclass(slots=True)
class Position:
    """The offsets of a value and of its key, and the places inside the value."""

    key: int
    value: int
    inside: dict[Key, Position] | None = None


def positions(next_event: Callable[[], Event]) -> Position:
    """Return the places in a text that has been read to its end before."""
    next_event()  # the stream's start
    if isinstance(next_event(), yaml.StreamEndEvent):
        return Position(0, 0)
    return _place(next_event, next_event(), 0)


def _place(next_event: Callable[[], Event], event: Event, key: int | None = None) -> Position:
    value = event.start_mark.index
    place = Position(value if key is None else key, value)
    match event:
        case yaml.MappingStartEvent():
            place.inside = _in_mapping(next_event)
        case yaml.SequenceStartEvent():
            place.inside = _in_sequence(next_event)
    return place


def _in_mapping(next_event: Callable[[], Event]) -> dict[Key, Position]:
    positions: dict[Key, Position] = {}
    while not isinstance(event := next_event(), yaml.MappingEndEvent):
        offset = event.start_mark.index
        _place(next_event, event)  # a key can be a map, too, though not in a sound file
        place = _place(next_event, next_event(), offset)
        # Of a key that is given twice, the first counts.
        positions.setdefault(event.value if isinstance(event, yaml.ScalarEvent) else "?", place)
    return positions


def _in_sequence(next_event: Callable[[], Event]) -> dict[Key, Position]:
    positions: dict[Key, Position] = {}
    while not isinstance(event := next_event(), yaml.SequenceEndEvent):
        positions[len(positions)] = _place(next_event, event)
    return positions
