"""Finds what a tool that writes files has left in one: marks of templates, and of merges with conflicts."""

from __future__ import annotations

import re
from collections.abc import Iterator

# What is inside a mark excludes its first character, so that the time is linear in the length of any text.
_MARK = re.compile(
    r"\{\{[^{}]*\}\}(?!\})|\{%[^{%]*%\}"  # Jinja, Go, Mustache
    r"|<%[^<%]*%>"  # ERB
    r"|\$\{\w+(?:[^\w{}][^{}]*)?\}"  # a shell, envsubst, Terraform
    r"|<<\s*[A-Za-z_]\w*\s*>>"
)
_CONFLICT = re.compile(r"(?:<{7}|={7}|>{7})(?: .*)?$")
_COMMENT = re.compile(r"(?:^|\s)#.*")
# The words of a description are free.
_FREE_TEXT = re.compile(r"""\bdescription["']?\s*:\s*(?:"[^"]*"|'[^']*'|.*)""")


def find_templates(text: str) -> Iterator[tuple[int, str]]:
    """Yield the offset of each mark outside of comments and descriptions, with a message about the mark."""
    if not any(start in text for start in ("{{", "{%", "<%", "${", "<<", "=======", ">>>>>>>")):
        return
    offset = 0
    for line in text.splitlines(keepends=True):
        for free in (_COMMENT, _FREE_TEXT):
            line = free.sub(lambda found: " " * len(found[0]), line)
        if _CONFLICT.match(line.rstrip()):
            yield offset, "a merge conflict was not resolved; keep one side, and delete this line"
        for found in _MARK.finditer(line):
            mark = found[0] if len(found[0]) <= 40 else found[0][:37] + "..."
            yield (
                offset + found.start(),
                f"a template was not rendered: {mark}; write the value that it stands for",
            )
        offset += len(line)
