"""The sockets of the relay. The supervisor keeps them open, so that they survive the death of a worker.

Workers get duplicates of the descriptors. Memberships and reserved ports need no worker.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field

from mcrelay.linux import socket_filters
from mcrelay.linux.netlink import device_of
from mcrelay.linux.readiness import find_readable
from mcrelay.model.actions import Acquire, Open, Release, SetFlow, SupervisorAction, WorkerAction
from mcrelay.model.addresses import address_to_number
from mcrelay.model.state import (
    KERNEL,
    RETURN_WORKER,
    DesiredState,
    Egress,
    Ingress,
    Membership,
    PortReservation,
)
from mcrelay.supervisor import limits, privileged
from mcrelay.supervisor.return_ports import ReturnPorts
from mcrelay.supervisor.supply import SocketSupply, SupplyError

log = logging.getLogger("mcrelay")


@dataclass(slots=True)
class _Ring:
    """A packet socket, and its fanout group (packet(7)); None if the socket gets all packets of its link.

    `program` is the descriptor of the program of the kernel data plane that decides what the ring gets.
    """

    ingress: Ingress
    socket: socket.socket
    fanout: int | None = None
    program: int | None = None


class Sockets:
    """Opens, keeps and closes the sockets of all resources."""

    def __init__(self) -> None:
        self._rings: dict[tuple[int, int], _Ring] = {}
        self._egress: dict[Egress, socket.socket] = {}
        self._return_ports = ReturnPorts()
        self._memberships = {False: _Memberships(), True: _Memberships()}
        self._ring_filters: dict[int, int] = {}
        """The programs that decide what rings get, by the ifindex of the link."""
        self._earlier_ports: dict[Egress, int] = {}
        self._needed = 0  # descriptors for the planned state, roughly

    def warn_if_too_many(self, state: DesiredState) -> None:
        """Log a warning if `state` needs more open files than this process may have."""
        before, self._needed = self._needed, limits.count_descriptors(state)
        if before != self._needed > limits.max_open_files():
            log.warning("rules will fail: %s", limits.describe_file_limit(self._needed))

    def supply(self, actions: Sequence[WorkerAction]) -> SocketSupply:
        """Return the sockets that a worker needs for these actions; open missing ones.

        Raises SupplyError if a socket cannot be opened.
        """
        sockets, resumed, failed = [], set(), {}
        for index, action in enumerate(actions):
            try:
                match action:
                    case Open(worker, Ingress() as ingress):
                        ring, is_in_use = self._open_ring(worker, ingress, _looped_groups(ingress, actions))
                        sockets.append(ring)
                        if is_in_use:
                            resumed.add(index)
                    case Open(worker, Egress() as egress):
                        sending, returning = self._open_egress(egress)
                        sockets += (sending, returning) if worker == RETURN_WORKER else (sending,)
            except OSError as error:
                failed[index] = _describe_failure(action, self._describe_error(action, error))
        if failed:
            raise SupplyError(failed)
        return SocketSupply(tuple(sockets), frozenset(resumed))

    def endpoint(self, egress: Egress) -> tuple[str, int]:
        """Return the address and the port from which an output is sent; open the socket if it is missing.

        Raises SupplyError.
        """
        try:
            sending, _ = self._open_egress(egress)
        except OSError as error:
            action = Open(KERNEL, egress)
            raise SupplyError({0: _describe_failure(action, self._describe_error(action, error))}) from error
        address, port = sending.getsockname()
        return address, port

    def keep_port(self, egress: Egress, port: int) -> None:
        """Let an egress that opens later send from the port of an earlier daemon, if it is free."""
        self._earlier_ports.setdefault(egress, port)

    def endpoints(self) -> set[tuple[str, int]]:
        """Return the addresses and ports from which the relay sends."""
        return {sending.getsockname() for sending in self._egress.values()}

    @property
    def has_filtered_rings(self) -> bool:
        """Whether a ring is open for which `filter_rings` was called."""
        return any(ring.program is not None for ring in self._rings.values())

    def filter_rings(self, ifindex: int, program: int) -> None:
        """Let `program` (a descriptor) decide what the rings of a link get, those of now and of later.

        Raises OSError.
        """
        self._ring_filters[ifindex] = program
        for (_, link), ring in self._rings.items():
            if link == ifindex:
                self._filter_ring(ring)

    def forget_ring_filters(self) -> None:
        """Let the rings of later get what their workers ask for: the programs of `filter_rings` have gone."""
        self._ring_filters.clear()

    def perform(self, actions: Sequence[SupervisorAction]) -> dict[int, str]:
        """Join and leave groups, reserve and release ports; return the reason of each failure by index."""
        failed = {}
        for index, action in enumerate(actions):
            try:
                self._perform(action)
            except OSError as error:
                failed[index] = _describe_failure(action, limits.describe_error(error, self._needed))
        return failed

    def release_all_except(self, state: DesiredState, *others: DesiredState) -> None:
        """Close the sockets that `state` does not use, except egress sockets that one of the `others` uses.

        Receivers may know the source port of an egress socket. A ring without a reader would only fill up.
        """
        rings = {
            (worker, ingress.ifindex) for worker in state.workers for ingress in state.forwarding.ingress
        }
        for key in self._rings.keys() - rings:
            self._rings.pop(key).socket.close()
        needed = {egress for planned in (state, *others) for egress in planned.egress}
        for egress in self._egress.keys() - needed:
            self._egress.pop(egress).close()
            self._return_ports.release(egress)
            self._earlier_ports.pop(egress, None)

    def forget_links(self, ifindexes: Set[int]) -> None:
        """Close what went with devices that were deleted: their rings, and the memberships on them."""
        for key in [key for key in self._rings if key[1] in ifindexes]:
            self._rings.pop(key).socket.close()
        for memberships in self._memberships.values():
            memberships.forget_links(ifindexes)

    def close_rings(self, worker: int, except_for: frozenset[Ingress]) -> None:
        """Close the rings of a worker, except those of the ingress `except_for`."""
        for key, ring in list(self._rings.items()):
            if key[0] == worker and ring.ingress not in except_for:
                self._rings.pop(key).socket.close()

    def rings_with_packets(self) -> set[tuple[int, int]]:
        """Return worker and ifindex of each ring with a packet that its worker has not released yet."""
        ready = find_readable([ring.socket for ring in self._rings.values()])
        return {key for key, ring in self._rings.items() if ring.socket in ready}

    def _describe_error(self, action: WorkerAction, error: OSError) -> str:
        match action:
            case Open(_, Egress(source_port=port)) if port and error.errno == errno.EADDRINUSE:
                return (
                    "another program has the port and does not share it (SO_REUSEADDR): stop that program"
                    f" (`ss -aunp sport = :{port}`), or choose another `source_port`"
                )
            case _:
                return limits.describe_error(error, self._needed)

    def _open_ring(
        self, worker: int, ingress: Ingress, looped_groups: Iterable[int]
    ) -> tuple[socket.socket, bool]:
        """Return the ring of a worker, and whether it was open before this call and may hold packets.

        A new ring also gets what this host sends to the `looped_groups` (numbers).
        """
        key = (worker, ingress.ifindex)
        if before := self._rings.get(key):
            if before.ingress == ingress:
                return before.socket, True
            self._rings.pop(key).socket.close()
        ring = self._rings[key] = _Ring(ingress, limits.keep_reserve(privileged.open_ring(ingress)))
        self._share(ingress.ifindex)
        if ingress.ifindex in self._ring_filters:
            self._filter_ring(ring)
        elif ring.fanout is not None:
            # The other rings of the group no longer get its share of the packets: the ring keeps them from
            # now on, until the worker reads it.
            socket_filters.attach(ring.socket, socket_filters.any_udp(looped_groups))
        return ring.socket, False

    def _open_egress(self, egress: Egress) -> tuple[socket.socket, socket.socket]:
        """Return the socket that sends, and the socket that gets what comes back to its port.

        If another program has the port, it gets what comes back, and both are the socket that sends.
        """
        returning = self._return_ports.acquire(egress, self._earlier_ports.get(egress, 0))
        if egress not in self._egress:
            try:
                self._egress[egress] = _open_sending_socket(egress, returning)
            except OSError:
                self._return_ports.release(egress)
                raise
        return self._egress[egress], returning or self._egress[egress]

    def _filter_ring(self, ring: _Ring) -> None:
        program = self._ring_filters[ring.ingress.ifindex]
        if ring.program != program:
            socket_filters.attach_program(ring.socket, program)
            ring.program = program

    def _share(self, ifindex: int) -> None:
        """Put the rings of a link into one fanout group if there are several."""
        rings = [ring for (_, link), ring in self._rings.items() if link == ifindex]
        if len(rings) == 1:
            return
        # The kernel deletes a group with its last socket, so the number of the group is kept with the rings.
        fanout = next((ring.fanout for ring in rings if ring.fanout is not None), None)
        for ring in rings:
            if ring.fanout is None:
                ring.fanout = fanout = privileged.share_packets(ring.socket, fanout)

    def _perform(self, action: SupervisorAction) -> None:
        match action:
            case Acquire(Membership() as membership):
                self._memberships[membership.source is None].join(membership)
            case Release(Membership() as membership):
                self._memberships[membership.source is None].leave(membership)
            case Acquire(PortReservation() as reservation):
                self._return_ports.acquire(reservation)
            case Release(PortReservation() as reservation):
                self._return_ports.release(reservation)


@dataclass(slots=True)
class _Memberships:
    """Memberships on as few sockets as the kernel allows (igmp_max_memberships).

    A socket cannot join a group both for any source and for one, so there is one object for each kind.
    """

    sockets: dict[Membership, socket.socket] = field(default_factory=dict)
    with_room: list[socket.socket] = field(default_factory=list)
    counts: dict[socket.socket, int] = field(default_factory=dict)

    def join(self, membership: Membership) -> None:
        while self.with_room:
            if self._try_to_join(self.with_room[-1], membership):
                return
            self.with_room.pop()
        fresh = limits.keep_reserve(privileged.join_socket())
        self.counts[fresh] = 0
        self.with_room.append(fresh)
        try:
            if not self._try_to_join(fresh, membership):
                raise OSError(errno.ENOBUFS, "a socket has no room for a membership")
        finally:
            self._close_if_empty(fresh)

    def leave(self, membership: Membership) -> None:
        sock = self.sockets[membership]
        try:
            privileged.leave(sock, membership)
        except OSError as error:
            # The kernel dropped the membership together with the link.
            if error.errno not in (errno.ENODEV, errno.EADDRNOTAVAIL):
                raise
        self._forget(membership)

    def _forget(self, membership: Membership) -> None:
        sock = self.sockets.pop(membership)
        self.counts[sock] -= 1
        if sock not in self.with_room:
            self.with_room.append(sock)
        self._close_if_empty(sock)

    def forget_links(self, ifindexes: Set[int]) -> None:
        for membership in [membership for membership in self.sockets if membership.ifindex in ifindexes]:
            with suppress(OSError):  # the kernel has dropped the membership together with the link
                privileged.leave(self.sockets[membership], membership)
            self._forget(membership)

    def _try_to_join(self, sock: socket.socket, membership: Membership) -> bool:
        try:
            privileged.join(sock, membership)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return False
            raise
        self.sockets[membership] = sock
        self.counts[sock] += 1
        return True

    def _close_if_empty(self, sock: socket.socket) -> None:
        if self.counts[sock] == 0:
            del self.counts[sock]
            self.with_room.remove(sock)
            sock.close()


def _looped_groups(ingress: Ingress, actions: Iterable[WorkerAction]) -> set[int]:
    """Return the groups, as numbers, of the inputs with `loopback` that a batch sets on a link."""
    return {
        address_to_number(action.flow.destination)
        for action in actions
        if isinstance(action, SetFlow) and action.flow.ifindex == ingress.ifindex and action.route.loopback
    }


def _open_sending_socket(egress: Egress, returning: socket.socket | None) -> socket.socket:
    if egress.source_port or returning is None:
        return limits.keep_reserve(privileged.open_egress(egress))
    sending = limits.keep_reserve(privileged.open_egress(egress, returning.getsockname()[1]))
    privileged.reserve_for_ourselves(sending, returning)
    return sending


def _describe_failure(action: WorkerAction | SupervisorAction, why: str) -> str:
    match action:
        case Open(_, Ingress() as ingress):
            return f"cannot read packets of device {device_of(ingress.ifindex)}: {why}"
        case Open(_, Egress() as egress):
            port = f" port {egress.source_port}" if egress.source_port else ""
            return f"cannot send from {egress.source}{port} through device {device_of(egress.ifindex)}: {why}"
        case Acquire(Membership() as membership):
            of = f" of {membership.source}" if membership.source else ""
            return f"cannot join {membership.group}{of} on device {device_of(membership.ifindex)}: {why}"
        case Acquire(PortReservation() as reservation):
            return f"cannot reserve {reservation.address} port {reservation.port}: {why}"
        case _:
            return why
