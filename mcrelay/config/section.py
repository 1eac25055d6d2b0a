"""A map of a file, with its location and without the values that the schema forbids.

The compiler reads files through sections. So a forbidden value is reported only once, and the other values of
the map are still checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from mcrelay.config.problems import Key, Path, Problem, SourceLocation
from mcrelay.config.reader import Data, Source
from mcrelay.config.schema import is_valid


@dataclass(frozen=True, slots=True)
class Section:
    """A map of a file. `forbidden` has the paths of all values of the file that violate the schema."""

    source: Source
    path: Path
    data: Mapping[str, Data]
    forbidden: Set[Path]

    def get(self, key: str, otherwise: Data = None) -> Data:
        """Return the value of a key, `otherwise` if the key is missing, or None if the value is forbidden."""
        # Almost always, nothing is forbidden, and then the path is not needed.
        if self.forbidden and (*self.path, key) in self.forbidden:
            return None
        return self.data.get(key, otherwise)

    def within(self, *keys: Key) -> Section:
        """Return the map at a path, or an empty map if the value there is not a map."""
        data: Data = self.data
        for key in keys:
            data = data[key] if isinstance(key, int) else data.get(key)
        return Section(
            self.source, (*self.path, *keys), data if isinstance(data, dict) else {}, self.forbidden
        )

    def maps(self, key: str) -> list[Section]:
        """Return the maps of the list at a key."""
        items = self.data.get(key)
        return [self.within(key, index) for index in range(len(items))] if isinstance(items, list) else []

    def valid_items(self, key: str) -> list[tuple[int, Data]]:
        """Return the items of the list at a key that the schema allows, each with its index."""
        items = self.get(key)
        if not self.forbidden:
            return list(enumerate(items or ()))
        path = (*self.path, key)
        return [(i, item) for i, item in enumerate(items or ()) if (*path, i) not in self.forbidden]

    def problem(self, message: str, *keys: Key) -> Problem:
        """Return a problem at the value with this path in the map."""
        return self.source.problem((*self.path, *keys), message)

    def problem_at_key(self, message: str, *keys: Key) -> Problem:
        """Return a problem at the last key of this path in the map."""
        return self.source.problem_at_key((*self.path, *keys), message)

    @property
    def where(self) -> SourceLocation:
        """The location of the map's own key."""
        return self.source.where_key(*self.path)


FileSection = tuple[Section, list[Problem]]
"""The outermost map of a file, with the problems of its YAML and the violations of the schema."""


def read_section(source: Source) -> FileSection:
    """Return the section of a file."""
    problems = list(source.problems)
    reported = {problem.where for problem in problems}
    forbidden: set[Path] = set()
    for path, problem in _violations(source):
        forbidden.add(path)
        if problem.where not in reported:
            problems.append(problem)
    data = source.data if isinstance(source.data, dict) else {}
    return Section(source, (), data, forbidden), problems


def _violations(source: Source) -> Iterator[tuple[Path, Problem]]:
    if source.data is not None and not is_valid(source.data):
        from mcrelay.config.violations import find_violations  # imports jsonschema, which is slow

        yield from find_violations(source)
