"""The files of a relay as they stand: which of them has a rule, and what they would be with another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcrelay.config.compiler import compiled
from mcrelay.config.model import Rule
from mcrelay.config.reader import Source, parse, parse_all
from mcrelay.storage import config_files


@dataclass(frozen=True, slots=True)
class ConfigTree:
    """A main file and its drop-ins."""

    main: Path
    sources: Sequence[Source]

    def drop_in(self, name: str) -> Path:
        """Return the file that `mcrelay add` writes for a rule."""
        return config_files.drop_in_folder(self.main) / f"{name}.yaml"

    def is_drop_in(self, source: Source) -> bool:
        """Tell whether one of these files lies in the drop-in folder."""
        return source is not self.sources[0]

    def names(self) -> Iterator[str]:
        """Yield the names of all rules."""
        for source in self.sources:
            yield from rules(source)

    def holder(self, name: str) -> Source | None:
        """Return the file that has a rule, None where none has it; raises `Invalid` where several have it."""
        holders = [source for source in self.sources if name in rules(source)]
        if len(holders) > 1:
            compiled(self.sources)  # which finds that, and says it better
        return holders[0] if holders else None

    def rule(self, name: str, source: Source) -> Rule:
        """Return what a file says of a rule, as if there were no others; raises `Invalid`."""
        known = [_with_rules(one, {}) for one in self.sources if one is not source]
        alone = _with_rules(source, {name: rules(source)[name]})
        return compiled([*known, alone] if self.is_drop_in(source) else [alone, *known]).rules[name]

    def with_file(self, file: Path, text: str | None) -> list[Source]:
        """Return the sources as they are once this file has this text, None for no file; raises `Invalid`.

        The file comes last, as of two that do not go together the later one is complained of.
        """
        others = [source for source in self.sources if source.file != str(file)]
        return others if text is None else [*others, drop_in(file, text)]


def standing(main: Path) -> ConfigTree:
    """Read the files; raises `Invalid`."""
    return ConfigTree(main, parse_all(config_files.read(main)))


def drop_in(file: Path, text: str) -> Source:
    """Return what a text says, from wherever it came, as a file; raises `Invalid`."""
    return parse(text.encode("utf-8", "surrogateescape"), str(file))


def rules(source: Source) -> Mapping[str, Any]:
    """Return the rules of a file as they are written, sound or not."""
    found = source.data.get("rules") if isinstance(source.data, dict) else None
    return found if isinstance(found, dict) else {}


def _with_rules(source: Source, found: Mapping[str, Any]) -> Source:
    if not isinstance(source.data, dict):
        return source  # whatever it is, that is complained of
    return replace(source, data={**source.data, "rules": found})
