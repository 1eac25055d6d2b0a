"""Suggestions for a mistyped word: the known words that resemble it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import islice

MAX_WORD_LENGTH = 64  # characters; difflib takes quadratic time, and no known word is longer
MAX_COMPARED = 100  # words that are compared with the word of a client, however many are known
MAX_LISTED = 12  # words in a message


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: a similar known word, or an empty text."""
    nearest = nearest_word(word, known)
    return f"; did you mean `{nearest}`?" if nearest else ""


def nearest_word(word: str, known: Iterable[str]) -> str:
    """Return the known word that resembles `word` most, or an empty text."""
    return _nearest(word[:MAX_WORD_LENGTH], tuple(known))


def list_words(known: Iterable[str], limit: int = MAX_LISTED) -> str:
    """Return the first `limit` known words as text for a message, and the number of the other words."""
    words = list(known)
    more = f" and {len(words) - limit:,} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more


def similar_words(word: str, known: Iterable[str]) -> list[str]:
    """Return up to three known words that resemble `word`. The cost is bounded: any client may ask often."""
    from difflib import get_close_matches

    word = word[:MAX_WORD_LENGTH]
    alike = (other for other in known if other[:1] == word[:1] and abs(len(other) - len(word)) <= 3)
    return get_close_matches(word, islice(alike, MAX_COMPARED), 3)


@cache
def _nearest(word: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches  # here, because most processes never need it

    return next(iter(get_close_matches(word, known, 1)), "")
