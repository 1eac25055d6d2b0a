"""Names of pages and options in running text: mcrelay-check(1) becomes a link, --json becomes code."""

from __future__ import annotations

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

_NAME = re.compile(
    r"\b(?P<page>[a-z][a-z0-9_.-]*)\((?P<section>[1-8])\)|(?<![\w-])(?P<option>--[a-z][a-z-]*)"
)
_LEFT_ALONE = (nodes.literal, nodes.literal_block, nodes.title, nodes.reference, addnodes.pending_xref)

_log = logging.getLogger(__name__)


class References(SphinxPostTransform):
    """Replaces the names in the text of a page. A page of mcrelay that does not exist is a warning."""

    default_priority = 5  # before Sphinx resolves references

    def run(self, **kwargs: object) -> None:
        """Replace the names in every text node that may have some."""
        for text in list(self.document.findall(nodes.Text)):
            if _NAME.search(text.astext()) and not _is_within(text, _LEFT_ALONE):
                text.parent.replace(text, list(self._pieces(text)))

    def _pieces(self, text: nodes.Text) -> Iterator[nodes.Node]:
        whole, done = text.astext(), 0
        for match in _NAME.finditer(whole):
            yield nodes.Text(whole[done : match.start()])
            yield from self._option(match) if match["option"] else self._page(match, text)
            done = match.end()
        yield nodes.Text(whole[done:])

    def _option(self, match: re.Match[str]) -> Iterator[nodes.Node]:
        yield nodes.literal("", match["option"])

    def _page(self, match: re.Match[str], text: nodes.Text) -> Iterator[nodes.Node]:
        name: nodes.Element = nodes.strong("", match["page"])
        page = f"{match['page']}.{match['section']}"
        is_ours = page in self.env.found_docs
        if match["page"].startswith("mcrelay") and not is_ours:
            _log.warning("there is no page %s", match[0], location=text.parent)
        if is_ours and self.app.builder.format == "html":
            name = addnodes.pending_xref(
                "",
                name,
                refdomain="std",
                reftype="doc",
                reftarget=f"/{page}",
                refdoc=self.env.docname,
                refexplicit=True,
            )
        yield name
        yield nodes.Text(f"({match['section']})")


def _is_within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False
