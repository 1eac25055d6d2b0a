"""A map somewhere in the files: its sound values, its place, and the maps within it.

Checks that follow the schema's read the files through parts, so that what the schema forbids is complained of
once, and what is sound beside it is still checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from mcrelay.config.problems import Key, Path, Problem, SourceLocation
from mcrelay.config.reader import Data, Source
from mcrelay.config.schema import is_valid, schema


@dataclass(frozen=True, slots=True)
class Section:
    """A map of a file; a value that the schema forbids counts as not known."""

    source: Source
    path: Path
    data: Mapping[str, Data]
    forbidden: Set[Path]

    def get(self, key: str, otherwise: Data = None) -> Data:
        """Return the value of a key, `otherwise` where the key is not given, None where it is forbidden."""
        if (*self.path, key) in self.forbidden:
            return None
        return self.data.get(key, otherwise)

    def within(self, *keys: Key) -> Section:
        """Return the map below some keys, an empty one where there is no map."""
        data: Data = self.data
        for key in keys:
            data = data[key] if isinstance(key, int) else data.get(key)
        return Section(
            self.source, (*self.path, *keys), data if isinstance(data, dict) else {}, self.forbidden
        )

    def maps(self, key: str) -> list[Section]:
        """Return the items of a list of maps."""
        items = self.data.get(key)
        return [self.within(key, index) for index in range(len(items))] if isinstance(items, list) else []

    def sound_items(self, key: str) -> list[tuple[int, Data]]:
        """Return the items of a list that the schema allows, each with its index."""
        items = self.get(key)
        path = (*self.path, key)
        return [(i, item) for i, item in enumerate(items or ()) if (*path, i) not in self.forbidden]

    def problem(self, message: str, *keys: Key) -> Problem:
        """Return what is wrong with the value below some keys."""
        return self.source.problem((*self.path, *keys), message)

    def problem_at_key(self, message: str, *keys: Key) -> Problem:
        """Return what is wrong with the key of that value."""
        return self.source.problem_at_key((*self.path, *keys), message)

    @property
    def where(self) -> SourceLocation:
        """The place of the map's own key."""
        return self.source.where_key(*self.path)


def shaped(source: Source) -> tuple[Section, list[Problem]]:
    """Return a file as a part, and all that is wrong with it so far: how it is written, and its shape."""
    problems = list(source.problems)
    complained = {problem.where for problem in problems}
    forbidden: set[Path] = set()
    for path, problem in _violations(source):
        forbidden.add(path)
        if problem.where not in complained:
            problems.append(problem)
    data = source.data if isinstance(source.data, dict) else {}
    return Section(source, (), data, forbidden), problems


def _violations(source: Source) -> Iterator[tuple[Path, Problem]]:
    if source.data is not None and not is_valid(source.data, schema()):
        from mcrelay.config.violations import violations  # jsonschema, which is slow to import

        yield from violations(source)
