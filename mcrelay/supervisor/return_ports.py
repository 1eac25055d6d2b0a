"""The sockets that get what comes back to the relay's own ports: answers, and ICMP errors.

There is one for each port from which an output sends or to which a unicast input listens, unless another
program has the port. It never takes a packet from another program that binds the port later.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from mcrelay.linux import socket_filters
from mcrelay.model.state import Egress, PortReservation
from mcrelay.supervisor import limits, privileged

PortUser = Egress | PortReservation


@dataclass(slots=True)
class _ReturnPort:
    socket: socket.socket
    users: set[PortUser] = field(default_factory=set)

    def set_filter(self) -> None:
        """Let the socket get headers, but no packet at all if its port is that of a unicast input."""
        is_input = any(isinstance(user, PortReservation) for user in self.users)
        program = socket_filters.NOTHING if is_input else socket_filters.UDP_HEADERS
        socket_filters.attach(self.socket, program)


class ReturnPorts:
    """Opens, shares and closes the sockets."""

    def __init__(self) -> None:
        self._ports: dict[tuple[str, int], _ReturnPort] = {}
        self._users: dict[PortUser, _ReturnPort] = {}

    def acquire(self, user: PortUser, preferred: int = 0) -> socket.socket | None:
        """Return the socket of the user's port, or None if another program has the port; raises OSError.

        A user without a port gets the `preferred` one if no program has it.
        """
        if user in self._users:
            return self._users[user].socket
        port = self._open(user, preferred)
        if port is None:
            return None
        self._users[user] = port
        port.users.add(user)
        port.set_filter()
        return port.socket

    def release(self, user: PortUser) -> None:
        """Close the socket of the user's port if no other user shares it."""
        port = self._users.pop(user, None)
        if port is None:
            return
        port.users.remove(user)
        if port.users:
            port.set_filter()
        else:
            port.socket.close()
            self._ports = {key: other for key, other in self._ports.items() if other is not port}

    def _open(self, user: PortUser, preferred: int) -> _ReturnPort | None:
        match user:
            case Egress(source_port=0) if port := preferred and self._open_at(
                privileged.ANY_ADDRESS, preferred
            ):
                return port
            case Egress(source_port=number):
                return self._open_at(privileged.ANY_ADDRESS, number)
            case PortReservation(address, number):  # pragma: no branch: there is no other
                # A program that has the port of another address, only, leaves that of this address to us.
                return self._open_at(privileged.ANY_ADDRESS, number) or self._open_at(address, number)

    def _open_at(self, address: str, number: int) -> _ReturnPort | None:
        if number and (port := self._ports.get((address, number))):
            return port
        sock = privileged.open_return_socket(number, address)
        if sock is None:
            return None
        port = _ReturnPort(limits.keep_reserve(sock))
        self._ports[address, sock.getsockname()[1]] = port
        return port
