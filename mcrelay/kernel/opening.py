"""Opens the data plane of program/relay.bpf.c: a new one, or what an earlier daemon left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from mcrelay.kernel import layout, loader
from mcrelay.kernel.maps import KernelMaps, create_maps, possible_cpus
from mcrelay.kernel.objects import Objects
from mcrelay.kernel.plane import KernelPlane, open_plane
from mcrelay.kernel.unavailable import KernelPlaneUnavailable

_HASH_DIGITS = 16


def open_relay(directory: Path) -> tuple[KernelPlane, KernelMaps]:
    """Return the plane of a daemon, whose directory this is (location.py), and what its maps hold.

    Raises KernelPlaneUnavailable.
    """
    cpus = possible_cpus()
    version = f"{layout.LAYOUT_VERSION}-{loader.object_hash()[:_HASH_DIGITS]}"
    plane = open_plane(directory, version, lambda: _load(cpus))
    return plane, KernelMaps(plane.objects.maps, cpus, plane.pin_map)


def _load(cpus: int) -> Objects:
    objects = Objects(create_maps(cpus), {})
    try:
        objects.programs.update(asdict(loader.load_programs(objects.maps)))
    except KernelPlaneUnavailable:
        objects.close()
        raise
    return objects
