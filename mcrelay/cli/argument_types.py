"""Types of command line arguments, for the parameter `type` of argparse."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def positive_number(text: str) -> float:
    """Return a finite number above 0. Raises ArgumentTypeError if the text is something else."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """Return a function that parses a whole number from `lowest` to `highest`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return parse
