"""Where each key and each value of a YAML text stands.

A sound file is asked for few of them, and all of them take more memory than its data does: so they are found
by reading the text once more, when something is to be shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from mcrelay.config.problems import Key
from mcrelay.config.yaml_events import Event, YamlEvents


@dataclass(slots=True)
class Position:
    """The offsets of a value and of its key, and the places inside the value."""

    key: int
    value: int
    inside: dict[Key, Position] | None = None


def positions(events: YamlEvents) -> Position:
    """Return the places in a text that has been read to its end before."""
    events.next()  # the stream's start
    if isinstance(events.next(), yaml.StreamEndEvent):
        return Position(0, 0)
    return _place(events, events.next(), 0)


def _place(events: YamlEvents, event: Event, key: int | None = None) -> Position:
    value = events.offset
    place = Position(value if key is None else key, value)
    match event:
        case yaml.MappingStartEvent():
            place.inside = _in_mapping(events)
        case yaml.SequenceStartEvent():
            place.inside = _in_sequence(events)
    return place


def _in_mapping(events: YamlEvents) -> dict[Key, Position]:
    positions: dict[Key, Position] = {}
    while not isinstance(event := events.next(), yaml.MappingEndEvent):
        offset = events.offset
        _place(events, event)  # a key can be a map, too, though not in a sound file
        place = _place(events, events.next(), offset)
        # Of a key that is given twice, the first counts.
        positions.setdefault(event.value if isinstance(event, yaml.ScalarEvent) else "?", place)
    return positions


def _in_sequence(events: YamlEvents) -> dict[Key, Position]:
    positions: dict[Key, Position] = {}
    while not isinstance(event := events.next(), yaml.SequenceEndEvent):
        positions[len(positions)] = _place(events, event)
    return positions
