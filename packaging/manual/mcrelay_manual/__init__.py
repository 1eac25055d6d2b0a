"""A Sphinx extension: directives that fill the manual from the code, so that a page cannot differ from it.

A page is a Markdown file `NAME.SECTION.md` beside `conf.py`. Its text is written by hand. Lists that the
code knows are directives: options and exit codes of a verb, keys of a schema, drop reasons. `code` collects
what the program knows, `parsers` and `schema_keys` write it as Markdown, `directives` places it into a page,
`references` makes links of names such as mcrelay-check(1), and `man` writes roff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register everything with Sphinx."""
    from mcrelay_manual import directives, man, references

    for name, directive in directives.DIRECTIVES.items():
        app.add_directive(name, directive)
    app.add_post_transform(references.References)
    app.set_translator("man", man.ManTranslator)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
