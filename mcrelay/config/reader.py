"""Reads YAML text into plain data, with the file, line and column of every key and value.

The text is read as YAML 1.2. Aliases, anchors, tags, merge keys and keys that are not text are errors.
Problems that do not stop the reader are collected in `Source.problems`; other problems raise ConfigError.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import yaml

from mcrelay.config.positions import Position, read_positions
from mcrelay.config.problems import ConfigError, Key, Path, Problem, SourceLocation, format_path, format_value
from mcrelay.config.scalars import AmbiguousScalarError, resolve_scalar
from mcrelay.config.templates import find_templates
from mcrelay.config.yaml_events import (
    FASTEST_LOADER,
    Event,
    Loader,
    NotPortableError,
    UnreadableError,
    YamlEvents,
)
from mcrelay.config.yaml_parser import PortableLoader

Data = Any  # dict, list, str, int, float, bool or None
MAX_DEPTH = 32
NAMES_DEPTH = 2  # the depth of `rules.NAME`
MAX_PROBLEMS = 10_000  # of one file; a hostile file could have millions

# Characters that YAML forbids, that only some readers treat as the end of a line (U+0085, U+2028, U+2029), or
# that some readers skip (U+FEFF).
# The set of all other characters would take ten times as long to compile.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_TAB_INDENT = re.compile(r"(?:^|\r) *\t", re.MULTILINE)
_LINE_END = re.compile(r"\r\n|\r|\n")


class Text:
    """The text of a file. Converts offsets to lines and columns."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(end.end() for end in _LINE_END.finditer(self.text))]

    @cached_property
    def _lines(self) -> list[str]:
        return _LINE_END.split(self.text)

    def where(self, offset: int) -> SourceLocation:
        """Return the location of an offset."""
        line = bisect_right(self._starts, offset)
        return SourceLocation(self.file, line, offset - self._starts[line - 1] + 1)

    def problem(self, offset: int, path: Path, message: str) -> Problem:
        """Return a problem at an offset."""
        where = self.where(offset)
        return Problem(where, format_path(path), message, self._lines[where.line - 1])


@dataclass(frozen=True)
class Source:
    """The data of one file, its text, and the problems that did not stop the reader."""

    text: Text
    data: Data
    names: Mapping[Path, int]
    """The offsets of the keys of the outermost map and of the maps in it, such as the names of rules."""
    problems: tuple[Problem, ...]
    loader: Loader

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.text.file

    def where(self, *path: Key) -> SourceLocation:
        """Return the location of a value, or of the innermost value around it that the file has."""
        return self.text.where(self.position_of(path).value)

    def where_key(self, *path: Key) -> SourceLocation:
        """Return the location of a value's key, or of the value itself if it is an item of a list."""
        offset = self.names.get(path)
        return self.text.where(self.position_of(path).key if offset is None else offset)

    def problem(self, path: Path, message: str) -> Problem:
        """Return a problem at a value."""
        return self.text.problem(self.position_of(path).value, path, message)

    def problem_at_key(self, path: Path, message: str) -> Problem:
        """Return a problem at a value's key, or at the value itself if it is an item of a list."""
        return self.text.problem(self.position_of(path).key, path, message)

    def position_of(self, path: Path) -> Position:
        """Return the offsets of a value, or of the innermost value around it that the file has."""
        position = self._positions
        for key in path:
            if not position.inside or key not in position.inside:
                break
            position = position.inside[key]
        return position

    @cached_property
    def _positions(self) -> Position:
        return read_positions(YamlEvents(self.text.text, self.loader))


def parse(raw: bytes, file: str, loader: Loader = FASTEST_LOADER) -> Source:
    """Parse the content of a file; raises ConfigError if the content cannot be read to its end."""
    text = _decode(raw, file)
    try:
        reader = _Reader(text, loader)
        data = reader.document()
    except NotPortableError:
        return parse(raw, file, PortableLoader)
    return Source(text, data, reader.names, tuple(reader.problems), loader)


def parse_all(contents: Iterable[tuple[str, bytes]]) -> list[Source]:
    """Parse files, given as names and contents; raises ConfigError with the problems of all files."""
    sources: list[Source] = []
    problems: list[Problem] = []
    for file, raw in contents:
        try:
            sources.append(parse(raw, file))
        except ConfigError as invalid:
            problems += invalid.problems
    if problems:
        raise ConfigError([*problems, *(problem for source in sources for problem in source.problems)])
    return sources


def _decode(raw: bytes, file: str) -> Text:
    """Return the text of a file; raises ConfigError if it is not UTF-8, or has a forbidden character."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:2]:
        raise ConfigError(
            [Problem(SourceLocation(file, 1, 1), "", "this is UTF-16 or binary; save the file as UTF-8")]
        )
    text = Text(file, raw.decode("utf-8", "replace"))
    if raw.startswith(codecs.BOM_UTF8):
        raise ConfigError([text.problem(0, (), "byte order mark; save the file as UTF-8 without it")])
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = len(raw[: error.start].decode("utf-8"))
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigError([text.problem(offset, (), message)]) from None
    if found := _FORBIDDEN.search(text.text):
        message = f"character U+{ord(found[0]):04X} is not allowed; delete it"
        raise ConfigError([text.problem(found.start(), (), message)])
    if templates := list(islice(find_templates(text.text), MAX_PROBLEMS)):
        raise ConfigError([text.problem(offset, (), message) for offset, message in templates])
    if tab := _TAB_INDENT.search(text.text):
        raise ConfigError([text.problem(tab.end() - 1, (), "tab in the indentation; use spaces")])
    return text


class _Reader:
    """Builds data from the events of a YAML parser."""

    def __init__(self, text: Text, loader: Loader) -> None:
        self.problems: list[Problem] = []
        self.names: dict[Path, int] = {}
        self._interned: dict[str, str] = {}  # each text once, to save memory
        self._text = text
        self._events = YamlEvents(text.text, loader)
        self._path: list[Key] = []

    def document(self) -> Data:
        """Return the data of the document, or None if the text has none; raises ConfigError."""
        try:
            return self._read_document()
        except UnreadableError as error:
            problem = self._text.problem(error.offset, (), str(error))
            raise ConfigError([*self.problems, problem]) from None

    def _read_document(self) -> Data:
        self._events.next()  # the stream's start
        if isinstance(self._events.next(), yaml.StreamEndEvent):
            return None
        node = self._read_node(self._events.next())
        self._events.next()  # the document's end
        if not isinstance(self._events.next(), yaml.StreamEndEvent):
            self._events.demand_portable()  # PortableLoader may find a fault after this event
            self._report("a second document begins here, and a file has one; delete this line")
        return node

    def _read_node(self, event: Event) -> Data:
        if isinstance(event, yaml.AliasEvent):
            self._report("aliases are not supported; write the value itself")
            return None
        if event.tag or event.anchor:
            self._refuse_properties(event)
        match event:
            case yaml.ScalarEvent():
                return self._read_scalar(event)
            case yaml.MappingStartEvent():
                return self._read_mapping(bool(event.flow_style))
            case _:
                return self._read_sequence()

    def _read_mapping(self, is_flow: bool) -> dict[str, Data]:
        values: dict[str, Data] = {}
        offsets: dict[str, int] = {}
        self._enter()
        has_names = not is_flow and len(self._path) <= NAMES_DEPTH
        while not isinstance(event := self._events.next(), yaml.MappingEndEvent):
            if has_names:
                self._events.record_key(len(self._path))
            offset, key = self._events.offset, self._read_key(event)
            is_first = key not in offsets
            if not is_first:
                line = self._text.where(offsets[key]).line
                self._report(f"`{key}` is given twice in this map, first on line {line}; delete one", offset)
            value = self._read_node(self._events.next())
            if is_flow and value is None:
                self._events.demand_portable()  # the parsers disagree on the position of an empty value
            if is_first and key != "<<":
                values[key], offsets[key] = value, offset
                if len(self._path) <= NAMES_DEPTH:
                    self.names[tuple(self._path)] = offset
        self._path.pop()
        return values

    def _read_sequence(self) -> list[Data]:
        items: list[Data] = []
        self._enter()
        while not isinstance(event := self._events.next(), yaml.SequenceEndEvent):
            self._path[-1] = len(items)
            items.append(self._read_node(event))
        self._path.pop()
        return items

    def _read_key(self, event: Event) -> str:
        """Return a key as text. Report a key that is not text, and let the reader continue after it."""
        offset = self._events.offset
        self._path[-1] = text = self._intern(event.value) if isinstance(event, yaml.ScalarEvent) else "?"
        key = self._read_node(event)
        if text == "<<":
            self._report("merge keys are not supported; write the keys themselves", offset)
        elif not isinstance(key, str):
            self._report(
                "a key must be text" + ("" if text == "?" else f"; write {format_value(text)}"), offset
            )
        return text

    def _read_scalar(self, event: Event) -> Data:
        text = self._intern(event.value)
        if event.style:
            if event.style == '"' and _FORBIDDEN.search(text):
                self._report("an escaped control character; delete it")
            return text
        try:
            return resolve_scalar(text)
        except AmbiguousScalarError as doubt:
            self._report(str(doubt))
            return text

    def _intern(self, text: str) -> str:
        return self._interned.setdefault(text, text)

    def _refuse_properties(self, event: Event) -> None:
        if event.tag:
            self._events.demand_portable()  # the parsers disagree on the end of a tag
            self._report("tags are not supported; delete the tag")
        if event.anchor:
            self._report("anchors are not supported; delete the anchor")

    def _enter(self) -> None:
        if len(self._path) == MAX_DEPTH:
            raise self._end(f"nested more than {MAX_DEPTH} levels deep")
        self._path.append("")

    def _report(self, message: str, offset: int | None = None) -> None:
        if len(self.problems) == MAX_PROBLEMS:
            raise self._end(f"more than {MAX_PROBLEMS} problems; the rest of the file was not read")
        offset = self._events.offset if offset is None else offset
        self.problems.append(self._text.problem(offset, tuple(self._path), message))

    def _end(self, message: str, offset: int | None = None) -> ConfigError:
        path = tuple(key for key in self._path if key != "")
        offset = self._events.offset if offset is None else offset
        return ConfigError([*self.problems, self._text.problem(offset, path, message)])
