"""What an earlier daemon left in the kernel, where it went on forwarding, is adopted, replaced or removed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Set
from pathlib import Path

from mcrelay.kernel.location import daemon_name, find_parent
from mcrelay.kernel.plane import KernelPlane, remove_all
from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain
from mcrelay.linux.netlink import device_of
from mcrelay.model.actions import Close, Open, WorkerAction
from mcrelay.model.state import Attachment, WorkerState

log = logging.getLogger("mcrelay")


class Attachments:
    """The devices that run the program of the kernel data plane, or still that of an earlier version."""

    def __init__(self, plane: KernelPlane) -> None:
        self._plane = plane
        self._earlier = frozenset() if plane.was_adopted else frozenset(plane.hook.attached())
        self._has_attached = False

    def begin(self, running: Set[int], wanted: Set[int]) -> None:
        """Attach the program where it should run already, and detach what is not wanted; raises OSError.

        A wanted device keeps the program of an earlier version until `Open` attaches ours.
        """
        self._earlier &= wanted
        self._plane.detach_all_except(running | self._earlier)
        self.renew(running)
        if not self._earlier:
            self._plane.remove_earlier_versions()

    def attach(self, ifindex: int) -> bool:
        """Let a device run the program; return False if it does already. Raises OSError."""
        is_new = self._plane.attach(ifindex)
        self._has_attached |= is_new
        return is_new

    def take_attached(self) -> bool:
        """Return whether a device has got the program since the last call."""
        has_attached, self._has_attached = self._has_attached, False
        return has_attached

    def renew(self, devices: Iterable[int]) -> None:
        """Attach the program where it has been lost, as to a new device with an old number.

        Raises OSError.
        """
        for ifindex in devices:
            try:
                if self.attach(ifindex):
                    log.info("device %s runs the program of the kernel data plane again", device_of(ifindex))
            except OSError as error:
                if error.errno != errno.ENODEV:  # else the next plan does without the device
                    raise

    def finish(self) -> None:
        """Remove what an earlier version left, after a batch that attached the program; raises OSError."""
        if self._earlier:
            self._plane.remove_earlier_versions()
            self._earlier = frozenset()

    def in_phases(self, actions: Iterable[WorkerAction]) -> list[list[tuple[int, WorkerAction]]]:
        """Return actions with their indexes, in groups that follow each other so that no packet is lost.

        Devices get the program before their flows, and keep it until the flows have gone; those that run the
        program of an earlier version get ours when all their flows are there. The last group has `Close`.
        """
        phases: list[list[tuple[int, WorkerAction]]] = [[], [], [], []]
        for index, action in enumerate(actions):
            phases[self._phase(action)].append((index, action))
        return phases

    def _phase(self, action: WorkerAction) -> int:
        match action:
            case Open(_, Attachment(ifindex)):
                return 2 if ifindex in self._earlier else 0
            case Close():
                return 3
            case _:
                return 1


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
