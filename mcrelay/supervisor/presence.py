"""How the daemons of a host, whatever directories they use, find each other: names in the network namespace.

Each daemon listens at one of a few names, and connects to all others when its control process starts. Of any
two daemons, the later one connects to the earlier one. The supervisors pass the sockets on, and read nothing;
the control processes talk (control/other_daemons.py).
"""

from __future__ import annotations

import logging
import socket

from mcrelay.linux.unix_names import connect_to, listen_at, read_credentials
from mcrelay.supervisor.privileged import users_of_daemons

log = logging.getLogger("mcrelay")

NAMES = 64  # at most so many daemons of a host find each other
BACKLOG = 64


class Presence:
    """Listens at a name for as long as the process lives."""

    def __init__(self) -> None:
        self.listener: socket.socket | None = None
        self._name = ""
        for name in map(_name, range(NAMES)):
            if self.listener is None:
                self.listener, self._name = listen_at(name, BACKLOG), name
        if self.listener is None:
            log.warning("other daemons that relay the same flows will not be found: all names are taken")

    def connect_to_others(self) -> list[socket.socket]:
        """Return a connection to each other daemon that a trusted user runs."""
        connections = [connect_to(name) for name in map(_name, range(NAMES)) if name != self._name]
        return [found for found in connections if found is not None and _is_trusted(found)]


def _name(number: int) -> str:
    return f"mcrelay/daemon/{number}"


def _is_trusted(connection: socket.socket) -> bool:
    if read_credentials(connection).uid in users_of_daemons():
        return True
    connection.close()
    return False
