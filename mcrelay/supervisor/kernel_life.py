"""What an earlier daemon left in the kernel, where it went on forwarding, is adopted, replaced or removed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

from mcrelay.kernel.location import daemon_name, find_parent
from mcrelay.kernel.plane import KernelPlane, remove_all
from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain
from mcrelay.linux.netlink import device_of
from mcrelay.model.actions import Open, WorkerAction
from mcrelay.model.state import Attachment, WorkerState

log = logging.getLogger("mcrelay")


class Attachments:
    """The devices that run the program of the kernel data plane, or still that of an earlier version."""

    def __init__(self, plane: KernelPlane) -> None:
        self._plane = plane
        self._earlier = frozenset() if plane.was_adopted else frozenset(plane.hook.attached())

    def begin(self, running: Set[int], wanted: Set[int]) -> None:
        """Attach the program where it should run already, and detach what is not wanted; raises OSError.

        A wanted device keeps the program of an earlier version until `Open` attaches ours.
        """
        self._earlier &= wanted
        self._plane.detach_all_except(running | self._earlier)
        self.renew(running)
        if not self._earlier:
            self._plane.remove_earlier_versions()

    def renew(self, devices: Iterable[int]) -> None:
        """Attach the program where it has been lost, as to a new device with an old number.

        Raises OSError.
        """
        for ifindex in devices:
            try:
                if self._plane.attach(ifindex):
                    log.info("device %s runs the program of the kernel data plane again", device_of(ifindex))
            except OSError as error:
                if error.errno != errno.ENODEV:  # else the next plan does without the device
                    raise

    def finish(self) -> None:
        """Remove what an earlier version left, after a batch that attached the program; raises OSError."""
        if self._earlier:
            self._plane.remove_earlier_versions()
            self._earlier = frozenset()

    def in_order(self, actions: Sequence[WorkerAction]) -> list[tuple[int, WorkerAction]]:
        """Return actions with their indexes, in the order in which no packet is lost.

        A device that runs the program of an earlier version gets ours when all its flows are there.
        """
        return sorted(enumerate(actions), key=lambda indexed: self._is_takeover(indexed[1]))

    def _is_takeover(self, action: WorkerAction) -> bool:
        match action:
            case Open(_, Attachment(ifindex)):
                return ifindex in self._earlier
        return False


def devices_of(state: WorkerState) -> Set[int]:
    """Return the numbers of the devices that run the program."""
    return {item.ifindex for item in state.resources if isinstance(item, Attachment)}


def find_directory(run_dir: Path) -> Path:
    """Return where this daemon keeps what outlives it; raises KernelPlaneUnavailable."""
    return find_parent(run_dir) / daemon_name(run_dir)


def remove_left_over(run_dir: Path) -> None:
    """Remove what an earlier daemon left, which would forward beside the workers."""
    try:
        remove_all(find_directory(run_dir))
    except KernelPlaneUnavailable:
        pass  # without a file system for it, nothing is left
    except OSError as error:
        log.warning("cannot remove the kernel data plane of an earlier daemon: %s", explain(error))
