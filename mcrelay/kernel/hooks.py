"""Where a program runs at the ingress of devices: tcx links since Linux 6.6, else classifiers below `clsact`.

Both run before the host's own stack and after packet sockets. What is attached outlives the process. All
functions work in the network namespace of the caller, and raise OSError.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Set
from pathlib import Path
from typing import Protocol

from mcrelay.kernel import bpf, links
from mcrelay.linux import traffic_control
from mcrelay.linux.traffic_control import Classifier

_LINK, _CLSACT = "link-", "clsact-"  # begin the names of files in the directory of a daemon
_OWNER = "mcrelay:"  # begins the name of a classifier; the name of that directory follows


class Hook(Protocol):
    """Attaches programs to devices. It finds by itself what this daemon attached in an earlier life."""

    def attach(self, ifindex: int, program: int) -> bool:
        """Let a device run `program` in place of the one it runs, from one packet to the next.

        Return False if it runs it already.
        """

    def detach(self, ifindex: int) -> None:
        """Let a device, which need not exist, run no program of this daemon."""

    def attached(self) -> Set[int]:
        """Return the devices that run a program of this daemon, or ran one before they went."""


def choose_hook(directory: Path, program: int) -> Hook:
    """Return the best hook that this kernel has, for a daemon with this directory (location.py)."""
    try:
        # There is no device 0, so that nothing is attached.
        os.close(links.create(program, 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return TcxHook(directory)
    return ClsactHook(directory)


class TcxHook:
    """A pinned link for each device, in front of the programs that are attached there.

    A link follows its device into another network namespace, and is severed when the device goes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def attach(self, ifindex: int, program: int) -> bool:
        """See Hook."""
        link = self._open(ifindex)
        if link is not None:
            try:
                info = links.describe(link)
                if info.link_id in links.find(ifindex):
                    if info.program_id == bpf.program_id(program):
                        return False
                    links.update(link, program)
                    return True
            finally:
                os.close(link)
            self.detach(ifindex)  # that was another device with this number
        link = links.create(program, ifindex)
        try:
            bpf.pin(link, self._pin(ifindex))
        finally:
            os.close(link)
        return True

    def detach(self, ifindex: int) -> None:
        """See Hook."""
        link = self._open(ifindex)
        if link is None:
            return
        try:
            links.detach(link)
        finally:
            os.close(link)
        self._pin(ifindex).unlink()

    def attached(self) -> Set[int]:
        """See Hook."""
        return _numbers(self._directory, _LINK)

    def are_all_severed(self) -> bool:
        """Return whether no link has its device any more."""
        opened = [bpf.get(self._pin(ifindex)) for ifindex in self.attached()]
        try:
            return all(links.describe(link).ifindex == 0 for link in opened)
        finally:
            for link in opened:
                os.close(link)

    def _pin(self, ifindex: int) -> Path:
        return self._directory / f"{_LINK}{ifindex}"

    def _open(self, ifindex: int) -> int | None:
        try:
            return bpf.get(self._pin(ifindex))
        except FileNotFoundError:
            return None


class ClsactHook:
    """A classifier with the name of the daemon for each device, before all others if its priority is free.

    An empty directory notes that the `clsact` of a device was made here. It goes with the last classifier.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = f"{_OWNER}{directory.name}"

    def attach(self, ifindex: int, program: int) -> bool:
        """See Hook."""
        present = traffic_control.ingress_classifiers(ifindex)
        own = self._own(present)
        if own is None:
            self._ensure_clsact(ifindex)
            try:
                traffic_control.set_bpf_classifier(ifindex, self._name, program, _free_priority(present))
            except OSError:
                self._release_clsact(ifindex)
                raise
            return True
        if own.program_id == bpf.program_id(program):
            return False
        traffic_control.set_bpf_classifier(ifindex, self._name, program, own.priority, own.handle)
        return True

    def detach(self, ifindex: int) -> None:
        """See Hook."""
        own = self._own(traffic_control.ingress_classifiers(ifindex))
        if own is None:
            self._forget_clsact(ifindex)
        else:
            traffic_control.delete_bpf_classifier(ifindex, own.priority, own.handle)
            self._release_clsact(ifindex)

    def attached(self) -> Set[int]:
        """See Hook."""
        return {
            ifindex
            for ifindex, _ in socket.if_nameindex()
            if self._own(traffic_control.ingress_classifiers(ifindex)) is not None
        } | _numbers(self._directory, _CLSACT)

    def _own(self, present: list[Classifier]) -> Classifier | None:
        return next((found for found in present if found.handle and found.name == self._name), None)

    def _ensure_clsact(self, ifindex: int) -> None:
        # A note that is there already, without our classifier, is that of an earlier device or qdisc.
        self._note(ifindex).mkdir(exist_ok=True)  # first, so that a crash leaves no qdisc without a note
        try:
            is_new = traffic_control.add_clsact(ifindex)
        except OSError:
            self._forget_clsact(ifindex)
            raise
        if not is_new:
            self._forget_clsact(ifindex)

    def _release_clsact(self, ifindex: int) -> None:
        """Remove the `clsact` of a device if it was made here and is empty now.

        If it is not empty, another daemon that uses it inherits the note.
        """
        note = self._note(ifindex)
        if note.exists():
            ingress = traffic_control.ingress_classifiers(ifindex)
            if not ingress and not traffic_control.egress_classifiers(ifindex):
                traffic_control.delete_clsact(ifindex)
            heirs = [found.name.removeprefix(_OWNER) for found in ingress if found.name.startswith(_OWNER)]
            if heirs and self._directory.with_name(heirs[0]).exists():
                note.rename(self._directory.with_name(heirs[0]) / note.name)
        self._forget_clsact(ifindex)

    def _forget_clsact(self, ifindex: int) -> None:
        if self._note(ifindex).exists():
            self._note(ifindex).rmdir()

    def _note(self, ifindex: int) -> Path:
        return self._directory / f"{_CLSACT}{ifindex}"


def _free_priority(present: list[Classifier]) -> int:
    taken = {found.priority for found in present if not found.admits_bpf}
    return next(priority for priority in range(1, 1 << 16) if priority not in taken)


def _numbers(directory: Path, prefix: str) -> set[int]:
    return {int(entry.name.removeprefix(prefix)) for entry in directory.glob(f"{prefix}*")}
