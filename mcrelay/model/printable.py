"""Replaces the characters of untrusted text that could control a terminal or break the lines of a log."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def make_printable(text: str, replacement: str = REPLACEMENT, keep: str = "") -> str:
    """Return `text` with `replacement` for each character that is neither printable nor in `keep`.

    Control characters, line ends and all spaces except U+0020 are not printable (see `str.isprintable`).
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else replacement for char in text)
