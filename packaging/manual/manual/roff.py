"""A page in a small markup -> roff, as man(7) wants it.

The markup is easy to read as it is: `# HEADING` and `## heading`, paragraphs apart by an empty line, indented
lines shown as they stand, `- item`, and a definition as a line with `: text` below it. Within a line, `code`,
--options and other pages such as mcrelay(1) are bold, *words* are italic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

_BLANK = re.compile(r"\n[ \t]*\n")
_INLINE = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?<![\w*])\*(?P<word>[^\s*](?:[^*]*[^\s*])?)\*(?![\w*])"
    r"|(?<![\w-])(?P<option>--[a-z][a-z-]*)"
    r"|\b(?P<page>[a-z][a-z0-9_.-]*)(?=\([1-8]\))"
)
# What roff would take for an escape, a quote of its own, or typography: groff_char(7).
_PROSE = str.maketrans({"\\": r"\e", '"': r"\(dq", "\N{NO-BREAK SPACE}": r"\ "})
_LITERAL = _PROSE | str.maketrans({"-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
_SHORT = 30  # characters of code that stay on one line


def page(name: str, section: int, release: str, markup: str) -> str:
    """Return the whole page; `release` stands in its footer."""
    title = f'.TH "{name.upper().translate(_LITERAL)}" "{section}" "" "{release}" "mcrelay manual"'
    return "\n".join([title, ".nr HY 0", ".nh", ".ad l", *_blocks(markup)]) + "\n"


def _blocks(markup: str) -> Iterator[str]:
    for block in _joined(_BLANK.split(markup)):
        lines = block.splitlines()
        first, *rest = lines
        if first.startswith("  "):
            yield from _as_it_stands(lines)
        elif first.startswith("#"):
            yield _heading(first)
            yield from _blocks("\n".join(rest)) if rest else ()
        elif rest and rest[0].startswith(": "):
            yield from _definition(first, [rest[0][2:], *rest[1:]])
        elif first.startswith("- "):
            yield from _items(lines)
        else:
            yield from (".PP", *_filled(lines))


def _joined(blocks: Iterable[str]) -> Iterator[str]:
    """Yield the blocks, those as one that are indented and only an empty line apart."""
    filled = (block.strip("\n") for block in blocks if block.strip())
    for is_indented, group in groupby(filled, lambda block: block.startswith("  ")):
        if is_indented:
            yield "\n\n".join(group)
        else:
            yield from group


def _heading(line: str) -> str:
    marks, _, text = line.partition(" ")
    return f'.{"SH" if marks == "#" else "SS"} "{_prose(text)}"'


def _as_it_stands(lines: list[str]) -> Iterator[str]:
    margin = min(len(line) - len(line.lstrip()) for line in lines if line)
    yield from (".PP", ".RS 4", ".EX")
    yield from (_guarded(line[margin:].translate(_LITERAL)) for line in lines)
    yield from (".EE", ".RE")


def _definition(term: str, lines: list[str]) -> Iterator[str]:
    yield from (".TP", *_filled([term]), *_filled(lines))


def _items(lines: list[str]) -> Iterator[str]:
    for item in re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE)[1:]:
        yield from (r".IP \(bu 2", *_filled(item.splitlines()))


def _filled(lines: Iterable[str]) -> Iterator[str]:
    text = "\n".join(line.strip() for line in lines)
    return (_guarded(line) for line in _prose(text).splitlines())


def _guarded(line: str) -> str:
    """Return a line that roff does not take for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def _prose(text: str) -> str:
    done, at = "", 0
    for match in _INLINE.finditer(text):
        done += text[at : match.start()].translate(_PROSE) + _marked(match)
        at = match.end()
    return done + text[at:].translate(_PROSE)


def _marked(match: re.Match[str]) -> str:
    if match["word"]:
        return rf"\fI{match['word'].translate(_PROSE)}\fR"
    code = match[match.lastgroup or 0]
    if len(code) <= _SHORT:
        code = code.replace(" ", "\N{NO-BREAK SPACE}")
    return rf"\fB{code.translate(_LITERAL)}\fR"
