"""The values of plain YAML scalars, by the core schema of YAML 1.2 (section 10.3.2).

A number with different values in YAML 1.1 and YAML 1.2 is refused. For example, PyYAML reads YAML 1.1, in
which `22:22` is 1342 and `0123` is 83.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

# Words that YAML 1.1 takes for booleans and YAML 1.2 for text, and the boolean that is meant.
YAML_1_1_BOOLEANS = {
    **dict.fromkeys(("y", "yes", "on"), "true"),
    **dict.fromkeys(("n", "no", "off"), "false"),
}

MAX_DIGITS = 18  # valid numbers have at most five; int() refuses more than 4,300

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMBER_START = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_AMBIGUOUS = re.compile(
    r"[-+]?("
    r"[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # base 60
    r"|0o[0-7]+|0b[01_]+|0x[0-9a-fA-F_]+"
    r"|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"  # underscores, leading zeros
    r")"
)


class AmbiguousScalarError(ValueError):
    """A scalar has too many digits, or YAML readers disagree on its value."""


def resolve_scalar(text: str) -> Scalar:
    """Return the value of a plain scalar; raises AmbiguousScalarError."""
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _NUMBER_START else text


def _number(text: str) -> Scalar:
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise AmbiguousScalarError(f"a number of more than {MAX_DIGITS} digits")
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _AMBIGUOUS.fullmatch(text):
        advice = "write a plain decimal number, or quote it if it is text"
        raise AmbiguousScalarError(f"{text[:40]} is not the same number to every YAML reader; {advice}")
    return text
