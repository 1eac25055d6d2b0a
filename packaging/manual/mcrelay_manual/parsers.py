"""The parser of a verb as Markdown: its synopsis, its arguments, and the parts of its epilog."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from textwrap import dedent, indent

POSITIONAL, OPTIONS = "positional arguments", "options"  # titles that argparse gives to its groups
# A paragraph of an epilog that begins so opens a part. The paragraphs that follow belong to the same part.
EXIT_CODES = "Exit codes:"
PARTS = {EXIT_CODES: "exit status", "With --json": "json"}
NOTES = "notes"

_OPTION_OR_PLACEHOLDER = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)|\b([A-Z]+)\b")


def synopsis(parser: argparse.ArgumentParser) -> str:
    """Return the usage line. Spaces within brackets do not break."""
    words = " ".join(parser.format_usage().split()).replace(" [-h]", "")
    words = re.sub(r"\[[^][]*\]", lambda option: option[0].replace(" ", "\N{NO-BREAK SPACE}"), words)
    return f"`{parser.prog}`{_mark_up(words.removeprefix(f'usage: {parser.prog}'))}"


def arguments(parser: argparse.ArgumentParser, group: str) -> list[str]:
    """Return a definition for each argument of a group; none where the parser has no such group."""
    collector = _Collector(parser.prog)
    parser.formatter_class = lambda prog: collector
    parser.format_help()
    return collector.definitions.get(group, [])


def epilog(parser: argparse.ArgumentParser, part: str) -> list[str]:
    """Return the paragraphs of one part of the epilog: `notes`, `json` or `exit status`."""
    return [paragraph for found, paragraph in _parts(parser.epilog or "") if found == part]


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield the paragraphs of an epilog, each with the name of its part."""
    part = NOTES
    for paragraph in filter(None, text.strip("\n").split("\n\n")):
        part = next((PARTS[words] for words in PARTS if paragraph.startswith(words)), part)
        if paragraph.startswith(EXIT_CODES):
            yield from ((part, code) for code in _exit_codes(" ".join(paragraph.split())))
        elif paragraph.startswith("  "):
            yield part, indent(dedent(paragraph), "    ")
        else:
            yield part, paragraph


def _exit_codes(paragraph: str) -> Iterator[str]:
    """Yield a definition for each code of `Exit codes: 0 valid, 78 invalid.`"""
    for entry in re.split(r"[,;] (?=\d)", paragraph.removeprefix(EXIT_CODES).strip(" .")):
        code, _, meaning = entry.partition(" ")
        yield f"{code}\n: {meaning}"


def _mark_up(text: str) -> str:
    """Return a usage with its options as code and its placeholders emphasised."""
    return _OPTION_OR_PLACEHOLDER.sub(lambda found: f"`{found[1]}`" if found[1] else f"*{found[2]}*", text)


class _Collector(argparse.HelpFormatter):
    """Receives what argparse formats for `--help`, and keeps each argument as a definition."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self.definitions: dict[str, list[str]] = {}
        self._group = ""

    def start_section(self, heading: str | None) -> None:
        """Begin a group of arguments."""
        self._group = heading or ""

    def end_section(self) -> None:
        """End the group."""

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        """Keep the arguments of the group."""
        shown = [self._definition(action) for action in actions if action.help is not argparse.SUPPRESS]
        if shown:
            self.definitions.setdefault(self._group, []).extend(shown)

    def format_help(self) -> str:
        """Return nothing: only the definitions are wanted."""
        return ""

    def _definition(self, action: argparse.Action) -> str:
        placeholder = self._format_args(action, action.dest.upper())
        forms = [f"{option} {placeholder}".strip() for option in action.option_strings]
        forms = forms or [str(action.metavar or action.dest)]
        return f"{_mark_up(', '.join(forms))}\n: {self._expand_help(action)}"
