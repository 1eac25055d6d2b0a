"""The man pages: Sphinx's writer, with what man(7) wants of pages that show things to type."""

from __future__ import annotations

from docutils import nodes
from sphinx.writers.manpage import ManualPageTranslator

# groff shows a plain ^ or ~ as a typographic accent: groff_char(7).
_LITERAL = str.maketrans({"^": r"\(ha", "~": r"\(ti"})


class ManTranslator(ManualPageTranslator):
    """Writes roff that shows every character as it is typed, without date, hyphens and justified lines."""

    def header(self) -> str:
        """Return the header of the page."""
        self._docinfo["date"] = ""
        self._docinfo["version"] = f"mcrelay {self._docinfo['version']}"
        return f"{super().header()}.nr HY 0\n.nh\n.ad l\n"

    def encode_special_chars(self, text: str) -> str:
        """Return text that roff takes literally, also at the beginning of a line."""
        encoded: str = super().encode_special_chars(text)
        return encoded.translate(_LITERAL).replace("\n.", "\n\\&.")

    def depart_literal_block(self, node: nodes.literal_block) -> None:
        """End a literal block without the empty line that its last newline would add."""
        self.body[-1] = self.body[-1].rstrip("\n")
        super().depart_literal_block(node)
