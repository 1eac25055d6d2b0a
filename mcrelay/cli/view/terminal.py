"""The differences between terminals and pipes: colour, and indented JSON."""

from __future__ import annotations

import json
import os
import sys

from mcrelay.model.printable import make_printable
from mcrelay.protocol.jsonrpc import Json

BOLD, RED, GREEN, YELLOW, PLAIN = "\033[1m", "\033[31m", "\033[32m", "\033[33m", "\033[0m"


def is_drawable() -> bool:
    """Return whether standard output is a terminal that can move its cursor and show colour."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def is_colour_wanted() -> bool:
    """Return whether standard output can show colour, and NO_COLOR is not set."""
    return is_drawable() and not os.environ.get("NO_COLOR")


def to_one_line(text: str) -> str:
    """Return a text of the user on one line, without control characters."""
    return " ".join(make_printable(text, " ").split())


def paint(text: str, accent: str, colour: bool) -> str:
    """Return the text in a colour, or unchanged if `colour` is false."""
    return f"{accent}{text}{PLAIN}" if colour and accent else text


def format_json(document: Json) -> str:
    """Return JSON: indented for a terminal; on one line for a program, which is several times faster."""
    return json.dumps(document, indent=2 if sys.stdout.isatty() else None)
