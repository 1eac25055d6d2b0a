"""Durations: texts of a number and a unit, such as `50ms` or `5s`."""

from __future__ import annotations

import re

_NANOSECONDS = {"ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_OTHER_UNITS = {
    "ms": ("msec", "msecs", "millisecond", "milliseconds"),
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("m", "mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
}
_UNIT_OF_WORD = {word: unit for unit, words in _OTHER_UNITS.items() for word in (unit, *words)}
_NUMBER_AND_WORD = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a duration that is valid by the schema."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    return round(float(number) * _NANOSECONDS[text[len(number) :]])


def format_duration(nanoseconds: int) -> str:
    """Return the text of a duration in the largest unit that needs no fraction, else in milliseconds."""
    for unit, length in reversed(_NANOSECONDS.items()):
        if nanoseconds % length == 0:
            return f"{nanoseconds // length}{unit}"
    return f"{nanoseconds / _NANOSECONDS['ms']}ms"


def reason_out_of_range(text: str, shortest: str, longest: str) -> str:
    """Return why a duration is too short or too long, empty if it is neither."""
    if parse_duration(shortest) <= parse_duration(text) <= parse_duration(longest):
        return ""
    return f"expected {shortest} to {longest}, not {text}"


def suggest_duration(value: object) -> str:
    """Return how to write a value that was meant as a duration, empty if no one can tell."""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        return f"; add a unit: `{value}s` or `{value}ms`"
    found = _NUMBER_AND_WORD.fullmatch(value) if isinstance(value, str) else None
    unit = _UNIT_OF_WORD.get(found[2].lower()) if found else None
    return f"; did you mean `{found[1]}{unit}`?" if found and unit else ""
