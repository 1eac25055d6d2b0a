"""The positions of all keys and values of a YAML text.

The positions take more memory than the data, and a valid file needs few of them. Therefore the text is read a
second time if a position is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from mcrelay.config.problems import Key
from mcrelay.config.yaml_events import Event, YamlEvents


@dataclass(slots=True)
class Position:
    """The offsets of a value and of its key, and the positions inside the value."""

    key: int
    value: int
    inside: dict[Key, Position] | None = None


def read_positions(events: YamlEvents) -> Position:
    """Return the positions in a text that is valid YAML."""
    events.next()  # the stream's start
    if isinstance(events.next(), yaml.StreamEndEvent):
        return Position(0, 0)
    return _read_position(events, events.next(), 0)


def _read_position(events: YamlEvents, event: Event, key: int | None = None) -> Position:
    value = events.offset
    position = Position(value if key is None else key, value)
    match event:
        case yaml.MappingStartEvent():
            position.inside = _read_mapping(events)
        case yaml.SequenceStartEvent():
            position.inside = _read_sequence(events)
    return position


def _read_mapping(events: YamlEvents) -> dict[Key, Position]:
    positions: dict[Key, Position] = {}
    while not isinstance(event := events.next(), yaml.MappingEndEvent):
        offset = events.offset
        _read_position(events, event)  # a key can be a map, though not in a valid file
        position = _read_position(events, events.next(), offset)
        # If a key is given twice, the first one counts.
        positions.setdefault(event.value if isinstance(event, yaml.ScalarEvent) else "?", position)
    return positions


def _read_sequence(events: YamlEvents) -> dict[Key, Position]:
    positions: dict[Key, Position] = {}
    while not isinstance(event := events.next(), yaml.SequenceEndEvent):
        positions[len(positions)] = _read_position(events, event)
    return positions
