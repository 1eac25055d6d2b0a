"""A verb's parser -> the sections of its page that `--help` shows, too."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator

Sections = dict[str, list[str]]

_TITLES = {"positional arguments": "ARGUMENTS"}
# A paragraph of an epilog that begins so opens a section, and those that follow belong to it.
_EXIT_CODES = "Exit codes:"
_OPENERS = {_EXIT_CODES: "EXIT STATUS", "With --json": "JSON"}
_OPTION_OR_PLACEHOLDER = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)|\b([A-Z]+)\b")


def sections(parser: argparse.ArgumentParser) -> Sections:
    """Return synopsis, description, arguments and all that the epilog says, in markup."""
    found: Sections = {"SYNOPSIS": [_synopsis(parser)], "DESCRIPTION": [parser.description or ""]}
    found |= _arguments(parser)
    for heading, paragraph in _told(parser.epilog or ""):
        found.setdefault(heading, []).append(paragraph)
    return found


def _synopsis(parser: argparse.ArgumentParser) -> str:
    words = " ".join(parser.format_usage().split()).replace(" [-h]", "")
    words = re.sub(r"\[[^][]*\]", lambda option: option[0].replace(" ", "\N{NO-BREAK SPACE}"), words)
    return f"`{parser.prog}`{_emphasised(words.removeprefix(f'usage: {parser.prog}'))}"


def _arguments(parser: argparse.ArgumentParser) -> Sections:
    collector = _Collector(parser.prog)
    parser.formatter_class = lambda prog: collector
    parser.format_help()
    return collector.arguments


def _told(epilog: str) -> Iterator[tuple[str, str]]:
    """Yield the paragraphs of an epilog, each with its section's heading."""
    heading = "NOTES"
    for paragraph in filter(None, epilog.strip("\n").split("\n\n")):
        heading = next((_OPENERS[words] for words in _OPENERS if paragraph.startswith(words)), heading)
        if paragraph.startswith(_EXIT_CODES):
            yield from ((heading, code) for code in _exit_codes(" ".join(paragraph.split())))
        else:
            yield heading, paragraph


def _exit_codes(paragraph: str) -> Iterator[str]:
    """Yield a definition for each code of `Exit codes: 0 valid, 78 invalid.`"""
    for entry in re.split(r"[,;] (?=\d)", paragraph.removeprefix(_EXIT_CODES).strip(" .")):
        code, _, meaning = entry.partition(" ")
        yield f"{code}\n: {meaning}"


def _emphasised(text: str) -> str:
    return _OPTION_OR_PLACEHOLDER.sub(lambda found: f"`{found[1]}`" if found[1] else f"*{found[2]}*", text)


class _Collector(argparse.HelpFormatter):
    """Takes what argparse would print for `--help`, and keeps the arguments as definitions in markup."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self.arguments: Sections = {}
        self._heading = ""

    def start_section(self, heading: str | None) -> None:
        """Begin a group of arguments."""
        self._heading = _TITLES.get(heading or "", (heading or "").upper())

    def end_section(self) -> None:
        """End it."""

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        """Take the arguments of the group."""
        shown = [self._definition(action) for action in actions if action.help is not argparse.SUPPRESS]
        if shown:
            self.arguments.setdefault(self._heading, []).extend(shown)

    def format_help(self) -> str:
        """Return nothing: what was collected is what counts."""
        return ""

    def _definition(self, action: argparse.Action) -> str:
        placeholder = self._format_args(action, action.dest.upper())
        forms = [f"{option} {placeholder}".strip() for option in action.option_strings]
        forms = forms or [str(action.metavar or action.dest)]
        return f"{_emphasised(', '.join(forms))}\n: {self._expand_help(action)}"
