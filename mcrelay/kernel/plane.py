"""The life of the kernel data plane: it is opened or adopted, attached to devices, and removed.

What is pinned and attached goes on forwarding while no process lives. The next daemon with the same run
directory adopts it if its version fits. Else it pins a version of its own beside it, fills the maps, and
attaches: each device changes from the earlier program to the new one between two packets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Set
from contextlib import ExitStack
from pathlib import Path

from mcrelay.kernel import bpf, links
from mcrelay.kernel.hooks import ClsactHook, TcxHook, choose_hook
from mcrelay.kernel.location import lock, lock_existing, namespace_cookie
from mcrelay.kernel.objects import Objects, map_pin, open_objects, pin_objects, remove_versions
from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain

INGRESS = "ingress"  # the name of the program that devices run
_DAEMON = re.compile(r"[A-Za-z0-9_]*-[0-9a-f]{8}-(?P<cookie>\d+)")  # the name of a directory (location.py)


class KernelPlane:
    """The programs and maps of a daemon, which are pinned in its directory."""

    def __init__(self, directory: Path, version: str, objects: Objects, was_adopted: bool, held: int) -> None:
        """`held` is the descriptor that locks the directory."""
        self._directory, self._version, self._held = directory, version, held
        self.objects = objects
        """The descriptors of all maps and programs by name."""
        self.was_adopted = was_adopted
        """Whether an earlier daemon made the maps, so that they have content."""
        self.hook = choose_hook(directory, objects.programs[INGRESS])

    def attach(self, ifindex: int) -> bool:
        """Let a device run the program; return False if it does already. Raises OSError.

        Everything that the program needs must be in the maps.
        """
        return self.hook.attach(ifindex, self.objects.programs[INGRESS])

    def detach_all_except(self, wanted: Set[int]) -> None:
        """Detach the program from all other devices, and forget those that have gone; raises OSError."""
        for ifindex in self.hook.attached() - wanted:
            self.hook.detach(ifindex)

    def remove_earlier_versions(self) -> None:
        """Remove the maps of earlier versions, once no device runs their programs; raises OSError."""
        remove_versions(self._directory, kept=self._version)

    def pin_map(self, name: str, descriptor: int) -> None:
        """Add a map that was created later; raises OSError."""
        bpf.pin(descriptor, map_pin(self._directory, self._version, name))
        self.objects.maps[name] = descriptor

    def close(self) -> None:
        """Close all descriptors. The kernel goes on forwarding."""
        self.objects.close()
        os.close(self._held)

    def remove(self) -> None:
        """Detach the program from all devices, and remove all that is pinned; raises OSError."""
        _remove(self._directory)
        self.close()


def open_plane(directory: Path, version: str, load: Callable[[], Objects]) -> KernelPlane:
    """Return what an earlier daemon left if it has the same version, else a new plane.

    `directory` is that of the daemon (location.py). `version` has no dot. `load` creates maps and programs.
    Raises KernelPlaneUnavailable; what an earlier daemon left still forwards then, until `remove_all`.
    """
    with ExitStack() as on_failure:
        held = lock(directory)
        on_failure.callback(os.close, held)
        on_failure.callback(_remove_if_empty, directory)
        try:
            remove_abandoned(directory.parent)
            adopted = open_objects(directory, version)
            objects = adopted if adopted is not None else load()
            on_failure.callback(objects.close)
            if adopted is None:
                pin_objects(directory, version, objects)
            plane = KernelPlane(directory, version, objects, adopted is not None, held)
        except OSError as error:
            raise KernelPlaneUnavailable(f"cannot use {directory}: {explain(error)}") from error
        on_failure.pop_all()
        return plane


def remove_all(directory: Path) -> None:
    """Remove all that a daemon left attached and pinned, if there is anything.

    Raises OSError: BlockingIOError if the daemon runs.
    """
    held = lock_existing(directory)
    try:
        _remove(directory)
    finally:
        if held is not None:
            os.close(held)


def remove_abandoned(parent: Path) -> None:
    """Remove what daemons left in network namespaces that are gone with their devices; raises OSError.

    A classifier does not tell whether it is still there, so this takes a kernel that has tcx links.
    """
    if not links.are_supported():
        return
    here = str(namespace_cookie())
    for directory in parent.iterdir():
        name = _DAEMON.fullmatch(directory.name)
        if name is None or name["cookie"] == here:
            continue
        try:
            held = lock_existing(directory)
        except OSError:  # that daemon runs, or is another user's
            continue
        if held is not None:
            try:
                if TcxHook(directory).are_all_severed():
                    _remove(directory)
                _remove_if_empty(directory)
            finally:
                os.close(held)


def _remove(directory: Path) -> None:
    for hook in (TcxHook(directory), ClsactHook(directory)):
        for ifindex in hook.attached():
            hook.detach(ifindex)
    if directory.exists():
        remove_versions(directory)
    _remove_if_empty(directory)


def _remove_if_empty(directory: Path) -> None:
    for place in (directory, directory.parent):
        try:
            place.rmdir()
        except OSError:  # it has pins or other daemons, is a mount point, or does not exist
            pass
