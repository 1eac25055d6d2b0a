"""The YAML events of a text, the same with every PyYAML and libyaml.

PyYAML has two parsers: one in C (libyaml), which is ten times faster and missing where PyYAML was built
without it, and one in Python. They refuse almost the same texts, but with different words and places, and
those of libyaml change with its releases. So the parser in C reads what is correct. Where it finds a fault,
`YamlEvents` reads on with `PortableLoader`, the parser in Python, whose words and places users see.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from mcrelay.config.yaml_parser import PortableLoader

Event = Any  # one of PyYAML's, which has no type for "has a tag and an anchor"
Loader = Callable[[str], Any]

# Of the loader in C only the parser is used: the rest of it recurses, and crashes on deep nesting.
FASTEST_LOADER: Loader = getattr(yaml, "CSafeLoader", PortableLoader)

# The parsers disagree on the places of empty nodes around `? key`. This finds all such keys, and a few texts
# that only look like one.
_EXPLICIT_KEY = re.compile(r"(?:^|[\[{,\r]|[-?:][ \t])[ \t]*\?", re.MULTILINE)


class NotPortableError(Exception):
    """The parser in C may read this text differently: `PortableLoader` is to read all of it."""


class UnreadableError(Exception):
    """A text is not YAML: the message says why, and `offset` where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """The parts of a text that are read again: from `start` to `gap`, and from `rest` to the end.

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
    """The events of a text, one after the other; `offset` is where the latest one begins.

    The parser in Python takes two seconds for a megabyte. So where it takes over, it does not begin at the
    text's first character, but at a key of a block mapping near the fault: `key_begins` notes these keys.
    """

    def __init__(self, text: str, loader: Loader = FASTEST_LOADER) -> None:
        self.offset = 0
        self._text = text
        self._is_portable = loader is PortableLoader or _EXPLICIT_KEY.search(text) is not None
        self._loader = PortableLoader(text) if self._is_portable else loader(text)
        self._excerpt = _Excerpt()  # from the latest noted key on
        self._count = 0  # of the events since that key
        self._outer_line: int | None = None  # where the line of the latest outermost key begins
        self._inner_line: int | None = None  # where the line of the first key in that key's value begins

    def next(self) -> Event:
        """Return the next event; raise `UnreadableError` where the text is broken."""
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
        """Raise `NotPortableError` unless `PortableLoader` gave the latest event."""
        if not self._is_portable:
            raise NotPortableError

    def key_begins(self, depth: int) -> None:
        """Note that the latest event is, or begins, a key of a block mapping.

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
        """Return the next event from `PortableLoader`, which then gives all others, too."""
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
                message = " ".join(filter(None, ("this is not YAML:", error.problem, error.context)))
            case _:  # ValueError or OverflowError, at the escape "\U00110000"
                index, message = self._loader.index, "there is no such character"
        return UnreadableError(message, self._excerpt.offset_in_whole(index))
