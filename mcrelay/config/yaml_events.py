"""The YAML events of a text, the same with all versions of PyYAML and libyaml.

PyYAML has a parser in C (libyaml) and a parser in Python. The parser in C is ten times faster, but PyYAML may
be built without it. Both parsers refuse almost the same texts, but with different messages and positions, and
the messages of libyaml change with its releases. Therefore the parser in C reads valid texts. If it finds a
fault, `YamlEvents` continues with `PortableLoader`, the parser in Python, whose messages users see.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from mcrelay.config.yaml_faults import describe_fault
from mcrelay.config.yaml_parser import PortableLoader

Event = Any  # an event of PyYAML, which has no type for events with a tag and an anchor
Loader = Callable[[str], Any]

# Only the parser of the loader is used. The rest of the loader in C recurses, and crashes on deep nesting.
FASTEST_LOADER: Loader = getattr(yaml, "CSafeLoader", PortableLoader)

# The parsers disagree on the positions of empty nodes around `? key`. This pattern matches all such keys, and
# also a few other texts.
_EXPLICIT_KEY = re.compile(r"(?:^|[\[{,\r]|[-?:][ \t])[ \t]*\?", re.MULTILINE)


class NotPortableError(Exception):
    """The parser in C may read this text differently, so that `PortableLoader` must read all of it."""


class UnreadableError(Exception):
    """A text is not YAML. The message has the reason, and `offset` the position of the fault."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """Two parts of a text that are read again: from `start` to `gap`, and from `rest` to the end.

    The first `skipped` of their events come before the key at `rest`: the starts of the stream, of the
    document and of the mappings around that key, with the keys of these mappings.
    """

    start: int = 0
    gap: int = 0
    rest: int = 0
    skipped: int = 0

    def text(self, whole: str) -> str:
        """Return both parts as one text."""
        return whole[self.start : self.gap] + whole[self.rest :]

    def offset_in_whole(self, index: int) -> int:
        """Return the offset in the whole text of an offset in `text()`."""
        length = self.gap - self.start
        return self.start + index if index < length else self.rest + index - length


class YamlEvents:
    """Returns the events of a text one by one. `offset` is the position of the latest event.

    The parser in Python takes two seconds for a megabyte. Therefore, after a fault, it does not read the
    whole text, but begins at a key of a block mapping before the fault. `record_key` records these keys.
    """

    def __init__(self, text: str, loader: Loader = FASTEST_LOADER) -> None:
        self.offset = 0
        self._text = text
        self._is_portable = loader is PortableLoader or _EXPLICIT_KEY.search(text) is not None
        self._loader = PortableLoader(text) if self._is_portable else loader(text)
        self._excerpt = _Excerpt()  # from the latest recorded key to the end
        self._count = 0  # the number of events since that key
        self._outer_line: int | None = None  # the start of the line of the latest outermost key
        self._inner_line: int | None = None  # the start of the line of the first key in its value

    def next(self) -> Event:
        """Return the next event; raises UnreadableError and NotPortableError."""
        try:
            event = self._loader.get_event()
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            if self._is_portable:
                raise self._unreadable(error) from None
            return self._next_portable()
        self._count += 1
        index = event.start_mark.index
        self.offset = self._excerpt.offset_in_whole(index) if self._is_portable else index
        return event

    def demand_portable(self) -> None:
        """Raise NotPortableError unless `PortableLoader` has read the latest event."""
        if not self._is_portable:
            raise NotPortableError

    def record_key(self, depth: int) -> None:
        """Record that a key of a block mapping begins with the latest event.

        `depth` is 1 for the outermost mapping, and 2 for a mapping that is the value of a key in it.
        """
        if self._is_portable:
            return
        line = self._text.rfind("\n", 0, self.offset) + 1
        is_first_in_line = not self._text[line : self.offset].strip(" ")
        if depth == 1:
            self._outer_line, self._inner_line = (line if is_first_in_line else None), None
            if is_first_in_line:
                self._excerpt, self._count = _Excerpt(line, line, line, skipped=3), 1
        elif self._outer_line is not None and is_first_in_line:
            self._inner_line = line if self._inner_line is None else self._inner_line
            self._excerpt, self._count = _Excerpt(self._outer_line, self._inner_line, line, skipped=5), 1

    def _next_portable(self) -> Event:
        """Switch to `PortableLoader`, and return the next event."""
        self._is_portable = True
        self._loader = PortableLoader(self._excerpt.text(self._text))
        offset = self.offset
        try:
            for _ in range(self._excerpt.skipped + self._count):
                self.next()
        except UnreadableError:
            raise NotPortableError from None
        if self.offset != offset:
            raise NotPortableError
        return self.next()

    def _unreadable(self, error: Exception) -> UnreadableError:
        match error:
            case yaml.MarkedYAMLError(problem_mark=yaml.Mark(index=index)):
                words, index = describe_fault(error, index)
                message = f"this is not YAML: {words}"
            case _:  # ValueError or OverflowError, at the escape "\U00110000"
                index, message = self._loader.index, "there is no such character"
        return UnreadableError(message, self._excerpt.offset_in_whole(index))
