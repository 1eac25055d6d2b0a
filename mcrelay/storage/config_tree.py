"""The parsed configuration files, in which commands find and change the file that defines a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcrelay.config.compiler import compile_config
from mcrelay.config.model import Rule
from mcrelay.config.reader import Source, parse, parse_all
from mcrelay.storage import config_files


@dataclass(frozen=True, slots=True)
class ConfigTree:
    """A main file and its drop-ins, parsed."""

    main: Path
    sources: Sequence[Source]

    def drop_in_path(self, name: str) -> Path:
        """Return the path of the file that `mcrelay add` writes for a rule."""
        return config_files.drop_in_directory(self.main) / f"{name}.yaml"

    def is_drop_in(self, source: Source) -> bool:
        """Return whether a file of the tree is a drop-in."""
        return source is not self.sources[0]

    def rule_names(self) -> Iterator[str]:
        """Yield the names of all rules."""
        for source in self.sources:
            yield from _rules(source)

    def holder(self, name: str) -> Source | None:
        """Return the file that defines a rule, or None; raises ConfigError if several define it."""
        holders = [source for source in self.sources if name in _rules(source)]
        if len(holders) > 1:
            compile_config(self.sources)  # raises the error with both locations
        return holders[0] if holders else None

    def rule(self, name: str, source: Source) -> Rule:
        """Return a rule that a file defines, compiled without all other rules; raises ConfigError."""
        others = [_with_rules(other, {}) for other in self.sources if other is not source]
        alone = _with_rules(source, {name: _rules(source)[name]})
        return compile_config([*others, alone] if self.is_drop_in(source) else [alone, *others]).rules[name]

    def with_file(self, file: Path, text: str | None) -> list[Source]:
        """Return all files with this text for `file`, or without `file` if the text is None.

        `file` is the last in the result, because a contradiction of two files is reported at the later one.
        Raises ConfigError.
        """
        others = [source for source in self.sources if source.file != str(file)]
        return others if text is None else [*others, parse_text(file, text)]


def read_tree(main: Path) -> ConfigTree:
    """Read and parse a main file and its drop-ins; raises ConfigError."""
    return ConfigTree(main, parse_all(config_files.read(main)))


def parse_text(file: Path, text: str) -> Source:
    """Parse a text, such as one from the command line, as the content of `file`; raises ConfigError."""
    return parse(text.encode("utf-8", "surrogateescape"), str(file))


def _rules(source: Source) -> Mapping[str, Any]:
    """Return the rules in the data of a file. They may be invalid."""
    found = source.data.get("rules") if isinstance(source.data, dict) else None
    return found if isinstance(found, dict) else {}


def _with_rules(source: Source, found: Mapping[str, Any]) -> Source:
    if not isinstance(source.data, dict):
        return source  # an error that the compiler reports
    return replace(source, data={**source.data, "rules": found})
