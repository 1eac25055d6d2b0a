"""Text from outside without the characters that a terminal or a log would obey instead of showing them."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def make_printable(text: str, replacement: str = REPLACEMENT, keep: str = "") -> str:
    """Return a text with `replacement` for each character that is not printable and not in `keep`.

    Not printable are control characters, line ends and all spaces but the common one (see `str.isprintable`).
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else replacement for one in text)
