"""What to do about a fault of the YAML text, instead of the words of PyYAML's parser."""

from __future__ import annotations

import re

from yaml import MarkedYAMLError

# Advice for what PyYAML says, which is the problem and then what was being read.
_AT_THE_PROBLEM = (
    (
        r"mapping values are not allowed here",
        "this `:` does not belong here; correct the indentation, add a `:` that the line above lacks, or put"
        " a text with `: ` in quotes",
    ),
    (
        r"expected <block end>, .*",
        "this does not continue the map or list before it; correct its indentation, or put the whole text in"
        " quotes",
    ),
    (r"expected ',' or '(.)', .*", r"a `,` or a `\1` is missing before this"),
    (r"found character '\\t' that cannot start any token.*", "a tab cannot stand here; use spaces"),
    (
        r"found character '(.)' that cannot start any token.*",
        r"a text cannot begin with `\1`; put it in quotes",
    ),
    (r"expected the node content, but found '([^<]+)'.*", r"a value is missing before `\1`"),
    (r"sequence entries are not allowed here", "a list cannot begin here; put its first `-` on a new line"),
    (
        r"found unknown escape character '(.)'.*",
        r"`\\\1` has no meaning in double quotes; use single quotes",
    ),
)
# The place of these is where PyYAML began to read.
_AT_THE_CONTEXT = (
    (r"could not find expected ':' while scanning a simple key", "a `:` is missing after this key"),
    (
        r"found unexpected end of stream while scanning a quoted scalar",
        "this quote is not closed; add the second one at the end of the text",
    ),
)


def describe_fault(error: MarkedYAMLError, index: int) -> tuple[str, int]:
    """Return what is wrong and what to do, and the offset of the fault; `index` is that of the problem."""
    words = " ".join(filter(None, (error.problem, error.context)))
    for pattern, advice in _AT_THE_CONTEXT:
        if error.context_mark and re.fullmatch(pattern, words):
            return advice, error.context_mark.index
    for pattern, advice in _AT_THE_PROBLEM:
        if found := re.fullmatch(pattern, words):
            return found.expand(advice), index
    return words, index
