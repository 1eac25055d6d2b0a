"""The directories in which a change can change the configuration, with symbolic links followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mcrelay.storage import config_files

MAX_LINKS = 40  # symbolic links in one lookup, MAXSYMLINKS of linux/namei.h
MAX_DIRECTORIES = 64  # watched directories, each with a thread; further directories are not watched


@dataclass(frozen=True, slots=True)
class WatchedDirectory:
    """A directory in which some entries matter: `names`, and drop-ins if `holds_drop_ins`."""

    folder: str
    identity: tuple[int, int]
    """Device and inode, which differ if another directory has replaced this one under the same name."""
    names: frozenset[str]
    holds_drop_ins: bool = False

    def matters(self, entry: str) -> bool:
        """Return whether a change of this path may change the configuration."""
        folder, name = os.path.split(entry)
        is_inside = folder == self.folder
        is_drop_in = self.holds_drop_ins and config_files.is_drop_in(name)
        return entry == self.folder or (is_inside and (name in self.names or is_drop_in))


def watched_directories(path: config_files.Name) -> tuple[WatchedDirectory, ...]:
    """Return the directories in which a configuration file, its drop-ins, or links to them lie."""
    main = Path.cwd() / path
    folder = config_files.drop_in_directory(main)
    real_folder = os.path.realpath(folder)
    names: dict[str, set[str]] = {}
    for where, name in chain(
        _lookups("/", str(main)), _lookups("/", str(folder)), _lookups_of_links(real_folder)
    ):
        names.setdefault(where, set()).add(name)
    names.setdefault(real_folder, set())
    found = (_watched(where, frozenset(entries), where == real_folder) for where, entries in names.items())
    return tuple(directory for directory in found if directory)[:MAX_DIRECTORIES]


def _lookups(folder: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield each directory (a path without links) and the entry in it that the lookup of `path` goes through.

    A plain directory in `path` is not yielded, because a directory that replaces it has another identity.
    """
    left, links = _parts(path), 0
    while left and links <= MAX_LINKS:
        name = left.pop(0)
        entry = os.path.normpath(os.path.join(folder, name))
        target = None if name == ".." else _link_target(entry)
        if target is None and os.path.isdir(entry):
            folder = entry
            continue
        yield folder, name
        if target is None:  # a file, or nothing yet
            return
        links += 1
        left = _parts(target) + left
        folder = "/" if target.startswith("/") else folder


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _link_target(entry: str) -> str | None:
    try:
        return os.readlink(entry)
    except OSError:  # no link, or no entry
        return None


def _lookups_of_links(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the lookups of all drop-ins in a directory that are symbolic links."""
    try:
        with os.scandir(folder) as entries:
            links = [
                entry.name for entry in entries if config_files.is_drop_in(entry.name) and entry.is_symlink()
            ]
    except OSError:
        return
    for name in links:
        yield from _lookups(folder, name)


def _watched(folder: str, names: frozenset[str], holds_drop_ins: bool) -> WatchedDirectory | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        return None
    return WatchedDirectory(folder, (found.st_dev, found.st_ino), names, holds_drop_ins)
