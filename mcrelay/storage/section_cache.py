"""Compiles configuration files again and again, without parsing a file again that has not changed."""

from __future__ import annotations

from mcrelay.config.compiler import compile_sections
from mcrelay.config.model import Config
from mcrelay.config.reader import parse_all
from mcrelay.config.section import FileSection, read_section
from mcrelay.storage.config_files import Contents

MAX_KEPT_BYTES = 256 * 1024  # of all files together: about 2,000 rules


class SectionCache:
    """Keeps the sections of the files that were compiled last.

    Those of large files are not kept, because they take ten times as much memory as the text.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bytes], FileSection] = {}

    def compile(self, contents: Contents, before: Config | None = None) -> Config:
        """Return the config that files define, as `compile_contents` does; raises ConfigError."""
        unknown = [file for file in contents if file not in self._kept]
        parsed = zip(unknown, map(read_section, parse_all(unknown)), strict=True)
        sections = self._kept | dict(parsed)
        size = sum(len(content) for _, content in contents)
        self._kept = {
            file: sections[file] for file in contents if size <= MAX_KEPT_BYTES and not sections[file][1]
        }
        return compile_sections([sections[file] for file in contents], before.rules if before else None)
