"""Every page of the manual: what it takes from the code, and the text that belongs to it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

from manual import options, roff, shapes
from manual.options import Sections
from mcrelay import __version__
from mcrelay.cli import VERBS, Verb
from mcrelay.cli.exit_codes import Exit
from mcrelay.model.counters import SEND_ERROR_MEANINGS, Drop

TEXTS = Path(__file__).parents[1]
SCHEMAS = Path(__file__).parents[3] / "schemas"

# The customary order of man-pages(7); other sections stand between, as they come.
FIRST = ("NAME", "SYNOPSIS", "DESCRIPTION", "ARGUMENTS", "OPTIONS")
LAST = ("NOTES", "JSON", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO")


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name of every file of the manual, and its content."""
    for verb in VERBS:
        yield _page(f"mcrelay-{verb.name}.1", _of_verb(verb))
    yield _page("mcrelay.1", {"VERBS": _verbs(), "EXIT STATUS": _exits()})
    yield _page("mcrelay.yaml.5", {"KEYS": shapes.keys(_schema("mcrelay"))})
    yield _page("mcrelay-drops.7", {"REASONS": _drops(), "SEND ERRORS": _send_errors()})
    yield _page("mcrelay-changing.7", {})
    yield _page("mcrelay-control.7", {"THE STATUS DOCUMENT": shapes.keys(_schema("status"))})


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """Return the parser of one verb."""
    parser = argparse.ArgumentParser(f"mcrelay {verb.name}", description=f"{verb.help.capitalize()}.")
    import_module(verb.module).arguments(parser)
    return parser


def _of_verb(verb: Verb) -> dict[str, Iterable[str]]:
    return {"NAME": [f"mcrelay-{verb.name} - {verb.help}"], **options.sections(parser_of(verb))}


def _verbs() -> Iterator[str]:
    return (f"`{verb.name}`\n: {verb.help.capitalize()}: mcrelay-{verb.name}(1)." for verb in VERBS)


def _exits() -> Iterator[str]:
    return (f"{code.value}\n: {code.meaning}." for code in Exit)


def _drops() -> Iterator[str]:
    return (f"`{drop}`\n: {_sentence(drop.meaning)}" for drop in Drop)


def _send_errors() -> Iterator[str]:
    return (f"`{name}`\n: {_sentence(meaning)}" for name, meaning in SEND_ERROR_MEANINGS.items())


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


def _schema(name: str) -> shapes.Schema:
    schema: shapes.Schema = json.loads((SCHEMAS / f"{name}.schema.json").read_bytes())
    return schema


def _page(file: str, taken: Mapping[str, Iterable[str]]) -> tuple[str, str]:
    """Return a page's file and content: its text, and what is taken from the code."""
    name, section = file.rsplit(".", 1)
    text = TEXTS / f"{file}.md"
    whole = _merged(_sections(text.read_text()) if text.exists() else {}, taken)
    return file, roff.page(name, int(section), f"mcrelay {__version__}", _ordered(whole))


def _merged(told: Sections, taken: Mapping[str, Iterable[str]]) -> Sections:
    """Put what is taken behind the text of its section; only a description begins with it."""
    whole = dict(told)
    for heading, paragraphs in taken.items():
        text = told.get(heading, [])
        whole[heading] = [*paragraphs, *text] if heading == "DESCRIPTION" else [*text, *paragraphs]
    return whole


def _sections(text: str) -> Sections:
    """Cut a text at its headings."""
    pieces = re.split(r"^# (.+)\n", text, flags=re.MULTILINE)
    return {heading: [body.strip("\n")] for heading, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def _ordered(sections: Sections) -> str:
    headings = sorted(sections, key=_place)
    return "\n\n".join("\n\n".join([f"# {heading}", *sections[heading]]) for heading in headings)


def _place(heading: str) -> int:
    if heading in FIRST:
        return FIRST.index(heading)
    return len(FIRST) + (1 + LAST.index(heading) if heading in LAST else 0)
