"""The configuration files one by one: which one defines a rule, and all of them with one file replaced."""

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
    """A main file and its drop-ins, each read."""

    main: Path
    sources: Sequence[Source]

    def drop_in_path(self, name: str) -> Path:
        """Return the path of the file that `mcrelay add` writes for a rule."""
        return config_files.drop_in_directory(self.main) / f"{name}.yaml"

    def is_drop_in(self, source: Source) -> bool:
        """Return whether one of these files is in the drop-in directory."""
        return source is not self.sources[0]

    def rule_names(self) -> Iterator[str]:
        """Yield the names of all rules."""
        for source in self.sources:
            yield from _rules(source)

    def holder(self, name: str) -> Source | None:
        """Return the file that defines a rule, or None; raises ConfigError if several define it."""
        holders = [source for source in self.sources if name in _rules(source)]
        if len(holders) > 1:
            compile_config(self.sources)  # raises the error that names both places
        return holders[0] if holders else None

    def rule(self, name: str, source: Source) -> Rule:
        """Return a rule that a file defines, compiled without all other rules; raises ConfigError."""
        others = [_with_rules(one, {}) for one in self.sources if one is not source]
        alone = _with_rules(source, {name: _rules(source)[name]})
        return compile_config([*others, alone] if self.is_drop_in(source) else [alone, *others]).rules[name]

    def with_file(self, file: Path, text: str | None) -> list[Source]:
        """Return all files after `file` got this text, or was removed if it is None; raises ConfigError.

        The file comes last: if two files contradict each other, the error is shown at the later one.
        """
        others = [source for source in self.sources if source.file != str(file)]
        return others if text is None else [*others, parse_text(file, text)]


def read_tree(main: Path) -> ConfigTree:
    """Read a main file and its drop-ins; raises ConfigError."""
    return ConfigTree(main, parse_all(config_files.read(main)))


def parse_text(file: Path, text: str) -> Source:
    """Return a text, such as one from the command line, parsed as a file of that name; raises ConfigError."""
    return parse(text.encode("utf-8", "surrogateescape"), str(file))


def _rules(source: Source) -> Mapping[str, Any]:
    """Return the data of a file's rules, which may be invalid."""
    found = source.data.get("rules") if isinstance(source.data, dict) else None
    return found if isinstance(found, dict) else {}


def _with_rules(source: Source, found: Mapping[str, Any]) -> Source:
    if not isinstance(source.data, dict):
        return source  # an error that the compiler reports
    return replace(source, data={**source.data, "rules": found})
