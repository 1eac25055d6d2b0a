"""What a terminal gets and a pipe does not: colour, and JSON laid out for the eye."""

from __future__ import annotations

import json
import os
import sys

from mcrelay.protocol.jsonrpc import Json

BOLD, RED, GREEN, YELLOW, PLAIN = "\033[1m", "\033[31m", "\033[32m", "\033[33m", "\033[0m"


def is_drawable() -> bool:
    """Whether standard output is a terminal that knows colours and places."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def is_colour_wanted() -> bool:
    """Whether standard output shows colour, and to somebody who wants it."""
    return is_drawable() and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """Return what somebody wrote on one line, without what would move the cursor of a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def paint(text: str, accent: str, colour: bool) -> str:
    """Return the text in a colour, or as it is where no colour is wanted."""
    return f"{accent}{text}{PLAIN}" if colour and accent else text


def format_json(document: Json) -> str:
    """Return JSON in many lines for a terminal, and in one for a program, which is several times faster."""
    return json.dumps(document, indent=2 if sys.stdout.isatty() else None)
