"""The sockets that the supervisor keeps open for its workers, so that a worker's death closes none.

A worker works with duplicates of the descriptors. Memberships and held ports need no worker at all.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from mcrelay.linux import socket_filters
from mcrelay.linux.netlink import device_of
from mcrelay.model.actions import Acquire, Open, Release, SupervisorAction, WorkerAction
from mcrelay.model.state import DesiredState, Egress, Ingress, Membership, PortReservation
from mcrelay.supervisor import limits, privileged
from mcrelay.supervisor.supply import SupplyError

log = logging.getLogger("mcrelay")


@dataclass(frozen=True, slots=True)
class Supply:
    """The sockets for a batch, in the order of its actions, and which rings are taken over half read."""

    sockets: tuple[socket.socket, ...]
    resumed: frozenset[int]


@dataclass(slots=True)
class _Ring:
    """A packet socket, and the number of the fanout group in which it shares its link's packets."""

    ingress: Ingress
    socket: socket.socket
    fanout: int | None = None


class Sockets:
    """All sockets that are open, by what they are for."""

    def __init__(self) -> None:
        self._rings: dict[tuple[int, int], _Ring] = {}
        self._egress: dict[Egress, socket.socket] = {}
        self._holds: dict[PortReservation, socket.socket | None] = {}
        self._groups = {False: _Memberships(), True: _Memberships()}
        self._needed = 0  # descriptors, about

    def expect(self, state: DesiredState) -> None:
        """Say so where what is to run takes more open files than there may be."""
        before, self._needed = self._needed, limits.descriptors(state)
        if before != self._needed > limits.open_files():
            log.warning("rules will fail: %s", limits.too_few_files(self._needed))

    def supply(self, actions: Sequence[WorkerAction]) -> Supply:
        """Return what a worker needs for these actions, opening what is not open yet; raises SupplyError."""
        sockets, resumed, failed = [], set(), {}
        for index, action in enumerate(actions):
            try:
                match action:
                    case Open(worker, Ingress() as ingress):
                        ring, is_kept = self._ring(worker, ingress)
                        sockets.append(ring)
                        if is_kept:
                            resumed.add(index)
                    case Open(_, Egress() as egress):
                        if egress not in self._egress:
                            self._egress[egress] = limits.keep_reserve(privileged.open_egress(egress))
                        sockets.append(self._egress[egress])
            except OSError as error:
                failed[index] = _reason(action, limits.why(error, self._needed))
        if failed:
            raise SupplyError(failed)
        return Supply(tuple(sockets), frozenset(resumed))

    def perform(self, actions: Sequence[SupervisorAction]) -> dict[int, str]:
        """Join, leave, hold and release; return why an action failed, by its place."""
        failed = {}
        for index, action in enumerate(actions):
            try:
                self._perform(action)
            except OSError as error:
                failed[index] = _reason(action, limits.why(error, self._needed))
        return failed

    def keep(self, state: DesiredState, *others: DesiredState) -> None:
        """Close what `state` has no use for, but no socket to send from that one of the `others` uses.

        Such a socket has a source port that receivers know. A ring that nobody reads would only fill up.
        """
        rings = {(worker, one.ifindex) for worker in state.workers for one in state.forwarding.ingress}
        for key in self._rings.keys() - rings:
            self._rings.pop(key).socket.close()
        egress = {one for each in (state, *others) for one in each.forwarding.egress}
        for one in self._egress.keys() - egress:
            self._egress.pop(one).close()

    def forget_rings(self, worker: int, read: frozenset[Ingress]) -> None:
        """Close the rings of a worker but those that it reads."""
        for key, ring in list(self._rings.items()):
            if key[0] == worker and ring.ingress not in read:
                self._rings.pop(key).socket.close()

    def _ring(self, worker: int, ingress: Ingress) -> tuple[socket.socket, bool]:
        key = (worker, ingress.ifindex)
        if before := self._rings.get(key):
            if before.ingress == ingress:
                return before.socket, True
            self._rings.pop(key).socket.close()
        ring = self._rings[key] = _Ring(ingress, limits.keep_reserve(privileged.open_ring(ingress)))
        self._share(ingress.ifindex)
        if ring.fanout is not None:
            # Its share comes to no other ring any more, so it waits here until the worker reads it.
            socket_filters.attach(ring.socket, socket_filters.ANY_UDP)
        return ring.socket, False

    def _share(self, ifindex: int) -> None:
        """Let the rings of one link share its packets as soon as there are two of them."""
        rings = [ring for (_, link), ring in self._rings.items() if link == ifindex]
        if len(rings) == 1:
            return
        # A group ends with its last ring, so it is known by its rings.
        fanout = next((ring.fanout for ring in rings if ring.fanout is not None), None)
        for ring in rings:
            if ring.fanout is None:
                ring.fanout = fanout = privileged.share_packets(ring.socket, fanout)

    def _perform(self, action: SupervisorAction) -> None:
        match action:
            case Acquire(Membership() as membership):
                self._groups[membership.source is None].join(membership)
            case Release(Membership() as membership):
                self._groups[membership.source is None].leave(membership)
            case Acquire(PortReservation() as hold):
                held = privileged.hold_port(hold)
                self._holds[hold] = held and limits.keep_reserve(held)
            case Release(PortReservation() as hold):
                if held := self._holds.pop(hold, None):
                    held.close()


@dataclass(slots=True)
class _Memberships:
    """Memberships, as many on a socket as the kernel allows.

    A socket cannot be a member of one group both for any source and for some, so each kind has its own.
    """

    places: dict[Membership, socket.socket] = field(default_factory=dict)
    roomy: list[socket.socket] = field(default_factory=list)
    sizes: dict[socket.socket, int] = field(default_factory=dict)

    def join(self, membership: Membership) -> None:
        while self.roomy:
            if self._joined(self.roomy[-1], membership):
                return
            self.roomy.pop()
        fresh = limits.keep_reserve(privileged.join_socket())
        self.sizes[fresh] = 0
        self.roomy.append(fresh)
        try:
            if not self._joined(fresh, membership):
                raise OSError(errno.ENOBUFS, "not even one membership fits a socket")
        finally:
            self._close_if_empty(fresh)

    def leave(self, membership: Membership) -> None:
        sock = self.places[membership]
        try:
            privileged.leave(sock, membership)
        except OSError as error:
            # The link took the membership with it.
            if error.errno not in (errno.ENODEV, errno.EADDRNOTAVAIL):
                raise
        del self.places[membership]
        self.sizes[sock] -= 1
        if sock not in self.roomy:
            self.roomy.append(sock)
        self._close_if_empty(sock)

    def _joined(self, sock: socket.socket, membership: Membership) -> bool:
        try:
            privileged.join(sock, membership)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return False
            raise
        self.places[membership] = sock
        self.sizes[sock] += 1
        return True

    def _close_if_empty(self, sock: socket.socket) -> None:
        if self.sizes[sock] == 0:
            del self.sizes[sock]
            self.roomy.remove(sock)
            sock.close()


def _reason(action: WorkerAction | SupervisorAction, why: str) -> str:
    match action:
        case Open(_, Ingress() as ingress):
            return f"cannot read packets of device {device_of(ingress.ifindex)}: {why}"
        case Open(_, Egress() as egress):
            port = f" port {egress.source_port}" if egress.source_port else ""
            return f"cannot send from {egress.source}{port} through device {device_of(egress.ifindex)}: {why}"
        case Acquire(Membership() as membership):
            of = f" of {membership.source}" if membership.source else ""
            return f"cannot join {membership.group}{of} on device {device_of(membership.ifindex)}: {why}"
        case Acquire(PortReservation() as hold):
            return f"cannot hold {hold.address} port {hold.port}: {why}"
        case _:
            return why
