"""A YAML parser with the same events and messages in all releases of PyYAML 6.

It is PyYAML's parser in Python with corrections: like YAML 1.2 and libyaml, it allows tabs between tokens and
inside plain scalars, and question marks inside plain scalars of flow collections.
"""

from __future__ import annotations

import yaml
from yaml.error import Mark
from yaml.scanner import ScannerError
from yaml.tokens import ScalarToken

_LINE_BREAK = "\r\n"
_END = "\0"  # PyYAML's scanner returns this after the last character
_BLANK = " \t"


class PortableLoader(yaml.SafeLoader):
    """Reads the events of a text. Each public method here replaces PyYAML's method of the same name.

    The only line ends are CR, LF and CR LF, because `reader.parse` refuses texts with other line ends.
    """

    def scan_to_next_token(self) -> None:
        """Skip blanks, comments and line breaks; skip a tab only if no key of a block mapping can follow."""
        while True:
            while self.peek() == " " or (
                self.peek() == "\t" and (self.flow_level or not self.allow_simple_key)
            ):
                self.forward()
            self._skip_comment()
            if not self._skip_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain(self) -> ScalarToken:
        """Return the plain scalar that begins here."""
        start = end = self.get_mark()
        chunks: list[str] = []
        blanks: list[str] = []
        while self.peek() != "#" and (length := self._plain_length()):
            self.allow_simple_key = False
            chunks += [*blanks, self.prefix(length)]
            self.forward(length)
            end = self.get_mark()
            blanks = self.scan_plain_spaces(self.indent + 1, start)
            if not blanks or (not self.flow_level and self.column < self.indent + 1):
                break
        return ScalarToken("".join(chunks), True, start, end)

    def _plain_length(self) -> int:
        """Return how many of the next characters belong to a plain scalar."""
        stops = ",[]{}" if self.flow_level else ""
        length = 0
        while (character := self.peek(length)) not in _END + _BLANK + _LINE_BREAK + stops:
            if character == ":" and self.peek(length + 1) in _END + _BLANK + _LINE_BREAK + stops:
                break
            length += 1
        return length

    def scan_plain_spaces(self, indent: int, start_mark: Mark) -> list[str]:
        """Skip blanks and line breaks after a word of a plain scalar; return the texts that replace them."""
        blanks = self._skip_blanks()
        if self.peek() not in _LINE_BREAK:
            return [blanks] if blanks else []
        breaks = []
        while self.peek() in _LINE_BREAK:
            breaks.append(self._skip_line_break())
            self.allow_simple_key = True
            if self.prefix(3) in ("---", "...") and self.peek(3) in _END + _BLANK + _LINE_BREAK:
                return []
            self._skip_blanks()
        return breaks[1:] or [" "]

    def scan_block_scalar_indicators(self, start_mark: Mark) -> tuple[bool | None, int | None]:
        """Return the chomping (True for `+`) and the indentation of a block scalar; each may be None."""
        chomping = indentation = None
        for _ in range(2):
            character = self.peek()
            if chomping is None and character in "+-":
                chomping = character == "+"
            elif indentation is None and character in "0123456789":
                indentation = int(character)
                if not indentation:
                    raise ScannerError(
                        "while scanning a block scalar",
                        start_mark,
                        "expected indentation indicator in the range 1-9, but found 0",
                        self.get_mark(),
                    )
            else:
                break
            self.forward()
        return chomping, indentation

    def scan_block_scalar_ignored_line(self, start_mark: Mark) -> None:
        """Skip the rest of a block scalar's header."""
        self._skip_blanks()
        self._skip_comment()
        if self.peek() not in _END + _LINE_BREAK:
            raise ScannerError(
                "while scanning a block scalar",
                start_mark,
                f"expected a comment or a line break, but found {self.peek()!r}",
                self.get_mark(),
            )
        self._skip_line_break()

    def _skip_line_break(self) -> str:
        line_break: str = self.scan_line_break()  # type: ignore[no-untyped-call]
        return line_break

    def _skip_comment(self) -> None:
        if self.peek() == "#":
            while self.peek() not in _END + _LINE_BREAK:
                self.forward()

    def _skip_blanks(self) -> str:
        length = 0
        while self.peek(length) in _BLANK:
            length += 1
        blanks: str = self.prefix(length)
        self.forward(length)
        return blanks
