"""The way to the files: every folder in which an entry is looked up until they are found, links followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mcrelay.storage import config_files

MOST_LINKS = 40  # on the way to one file, linux/namei.h
MOST_PLACES = 64  # a thread listens to each; nobody does to those beyond


@dataclass(frozen=True, slots=True)
class WatchedDirectory:
    """A folder in which some entries matter: these names, and drop-ins if it holds them."""

    folder: str
    identity: tuple[int, int]
    """Device and inode: another folder of the same name is another place."""
    names: frozenset[str]
    holds_drop_ins: bool = False

    def matters(self, entry: str) -> bool:
        """Tell whether what happens to this path may change what the files say."""
        folder, name = os.path.split(entry)
        is_there = folder == self.folder
        is_drop_in = self.holds_drop_ins and config_files.is_drop_in(name)
        return entry == self.folder or (is_there and (name in self.names or is_drop_in))


def watched_directories(path: config_files.Name) -> tuple[WatchedDirectory, ...]:
    """Return the folders in which whatever changes a file and its drop-ins happens."""
    main = Path.cwd() / path
    folder = config_files.drop_in_folder(main)
    inside = os.path.realpath(folder)
    names: dict[str, set[str]] = {}
    for where, name in chain(_steps("/", str(main)), _steps("/", str(folder)), _steps_of_links(inside)):
        names.setdefault(where, set()).add(name)
    names.setdefault(inside, set())
    found = (_place(where, frozenset(those), where == inside) for where, those in names.items())
    return tuple(place for place in found if place)[:MOST_PLACES]


def _steps(folder: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield each folder, itself free of links, and the entry of it that may lead elsewhere along `path`.

    A plain folder on the way leads where it always did: what takes its place is another place.
    """
    left, links = _parts(path), 0
    while left and links <= MOST_LINKS:
        name = left.pop(0)
        entry = os.path.normpath(os.path.join(folder, name))
        target = None if name == ".." else _target(entry)
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


def _target(entry: str) -> str | None:
    try:
        return os.readlink(entry)
    except OSError:  # no link, or nothing at all
        return None


def _steps_of_links(folder: str) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(folder) as entries:
            links = [
                entry.name for entry in entries if config_files.is_drop_in(entry.name) and entry.is_symlink()
            ]
    except OSError:
        return
    for name in links:
        yield from _steps(folder, name)


def _place(folder: str, names: frozenset[str], holds_drop_ins: bool) -> WatchedDirectory | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        return None
    return WatchedDirectory(folder, (found.st_dev, found.st_ino), names, holds_drop_ins)
