"""The maps and programs of one version, pinned below the directory of a daemon.

    <version>/maps/<name>, <version>/programs/<name>

A version is complete or has the name `new-<version>`, so that a crash leaves nothing that looks complete.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mcrelay.kernel import bpf

_MAPS, _PROGRAMS, _INCOMPLETE = "maps", "programs", "new-"


@dataclass(frozen=True, slots=True)
class Objects:
    """Descriptors of maps and programs by their names."""

    maps: dict[str, int]
    programs: dict[str, int]

    def close(self) -> None:
        """Close all descriptors. What is pinned lives on."""
        for descriptor in (*self.maps.values(), *self.programs.values()):
            os.close(descriptor)


def pin_objects(directory: Path, version: str, objects: Objects) -> None:
    """Pin a version; raises OSError."""
    incomplete = directory / f"{_INCOMPLETE}{version}"
    remove_version(incomplete)
    for kind, descriptors in ((_MAPS, objects.maps), (_PROGRAMS, objects.programs)):
        (incomplete / kind).mkdir(parents=True)
        for name, descriptor in descriptors.items():
            bpf.pin(descriptor, incomplete / kind / name)
    incomplete.rename(directory / version)


def open_objects(directory: Path, version: str) -> Objects | None:
    """Return the objects of a version, None if it is not there; raises OSError."""
    if not (directory / version).exists():
        return None
    opened = Objects({}, {})
    try:
        for kind, descriptors in ((_MAPS, opened.maps), (_PROGRAMS, opened.programs)):
            for entry in sorted((directory / version / kind).iterdir()):
                descriptors[entry.name] = bpf.get(entry)
    except OSError:
        opened.close()
        raise
    return opened


def map_pin(directory: Path, version: str, name: str) -> Path:
    """Return where a map of a version is pinned."""
    return directory / version / _MAPS / name


def remove_versions(directory: Path, kept: str = "") -> None:
    """Remove the pins of all versions but `kept`, complete or not; raises OSError."""
    for entry in directory.iterdir():
        if entry.name != kept and (entry / _MAPS).exists():
            remove_version(entry)


def remove_version(version: Path) -> None:
    """Remove a version, which need not exist; raises OSError."""
    if version.exists():
        shutil.rmtree(version)
