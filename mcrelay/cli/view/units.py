"""Numbers, times, durations and hashes as text."""

from __future__ import annotations

import time
from collections.abc import Mapping

_LETTERS = " kMGTPE"  # prefixes of units, by the power of 1000
_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"))
_HASH_DIGITS = 12


def format_count(number: int, noun: str) -> str:
    """Return `1 rule`, `2 rules`, `10,000 rules`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_number(number: float | None) -> str:
    """Return a number in at most five characters, `20.0k`; `-` if it is unknown."""
    if number is None:
        return "-"
    if number < 999.5:
        return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"
    step = 0
    while number >= 999.5:
        number /= 1000
        step += 1
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f}{_LETTERS[step]}"


def format_quantity(number: float | None, unit: str) -> str:
    """Return a number with its unit: `224 Mbit/s`, `812 B`."""
    text = format_number(number)
    return f"{text[:-1]} {text[-1]}{unit}" if text[-1].isalpha() else f"{text} {unit}"


def format_duration(seconds: float | None) -> str:
    """Return a duration, rounded down to its largest unit: `0.2 s`, `12 min`, `3 d`; `-` if it is unknown."""
    if seconds is None:
        return "-"
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{int(seconds)} s"


def format_drops(drops: Mapping[str, int]) -> str:
    """Return `not relayed: source 600, ttl 3`; an empty string if nothing was dropped."""
    counts = ", ".join(f"{reason} {count:,}" for reason, count in drops.items() if count)
    return counts and f"not relayed: {counts}"


def format_hash(content_hash: str) -> str:
    """Return the first digits of a hash, which are enough to tell two configurations apart."""
    return content_hash[:_HASH_DIGITS]


def format_time(timestamp: float) -> str:
    """Return the local date and time of a time in seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))
