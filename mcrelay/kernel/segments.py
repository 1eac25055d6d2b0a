"""Maps of maps, whose inner maps (segments) are created when they are needed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from mcrelay.kernel import bpf
from mcrelay.kernel.bpf import MapSpec
from mcrelay.kernel.bpf_map import BpfMap
from mcrelay.kernel.layout import NUMBER, SEGMENT

KeepMap = Callable[[str, int], None]
"""Makes a new map outlive this process: its name and its descriptor."""


def create(spec: MapSpec) -> int:
    """Return a descriptor of a new map; raises OSError."""
    if not spec.inner:
        return bpf.create_map(spec)
    inner = create(spec.inner)
    try:
        return bpf.create_map(spec, inner)
    finally:
        os.close(inner)


class Segments:
    """A map of maps, whose inner maps (segments) are created when they are needed."""

    def __init__(
        self, name: str, spec: MapSpec, descriptors: dict[str, int], keep: KeepMap, is_frozen: bool = False
    ) -> None:
        """`spec` defines the map of maps. If its segments are frozen, only programs write them.

        `descriptors` has the maps that exist by their names, and gets the new segments. `keep` is called with
        each before the program may use it.
        """
        assert spec.inner
        self._name, self._inner, self._entries = name, spec.inner, spec.entries
        self._descriptors, self._keep = descriptors, keep
        self._is_frozen = is_frozen
        self._outer = BpfMap(descriptors[name], 4, 4)
        self._segments: dict[int, BpfMap] = {}
        self._unused: dict[bytes, bytes] = {}
        for segment, descriptor in descriptors.items():
            of, _, number = segment.rpartition("-")
            if of == name:
                self._add(int(number), descriptor)
                # The daemon that created it may have died before it went on.
                if self._outer.lookup(NUMBER.pack(int(number))) == NUMBER.pack(bpf.map_id(descriptor)):
                    del self._unused[NUMBER.pack(int(number))]
        self.use()

    def segment(self, number: int) -> BpfMap:
        """Return the segment with an entry, which is created if it is missing.

        The program does not use a new segment before `use` is called. Raises OSError, with E2BIG if there is
        no room for the segment.
        """
        index = number // SEGMENT
        if index >= self._entries:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        if index not in self._segments:
            name = f"{self._name}-{index}"
            self._descriptors[name] = create(self._inner)
            if self._is_frozen:
                bpf.freeze(self._descriptors[name])
            self._keep(name, self._descriptors[name])
            self._add(index, self._descriptors[name])
        return self._segments[index]

    def use(self) -> None:
        """Let the program use the new segments. After each such call, the kernel waits for all CPUs."""
        self._outer.update_many(self._unused)
        self._unused = {}

    def _add(self, index: int, descriptor: int) -> None:
        self._unused[NUMBER.pack(index)] = NUMBER.pack(descriptor)
        self._segments[index] = BpfMap(descriptor, self._inner.key_octets, self._inner.value_octets)
