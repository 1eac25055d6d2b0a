"""Tells the other daemons of the host what this one relays, and finds the flows that others relay, too.

Everything happens at the beat of the control process, so that no other process can wake it up.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from mcrelay.ipc.child_process import report
from mcrelay.linux.unix_names import accept_all, read_credentials
from mcrelay.protocol.framing import WireError
from mcrelay.protocol.relayed_flows import (
    MAX_LINE,
    Duplicate,
    OtherDaemon,
    RelayedFlow,
    decode_daemon,
    encode_daemon,
    find_duplicates,
)

MAX_DAEMONS = 64
MAX_READ = 4 << 20  # octets from one daemon at a beat
READ_OCTETS = 1 << 16

Duplicates = Mapping[str, Sequence[Duplicate]]


class _Link:
    """The connection to another daemon."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.daemon: OtherDaemon | None = None
        self._received = b""
        self._unsent = memoryview(b"")
        self._last_line = b""

    def send(self, line: bytes) -> None:
        """Send a line unless it was sent, as far as there is room; raises OSError."""
        if not self._unsent and line is not self._last_line:
            self._unsent, self._last_line = memoryview(line), line
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass  # the rest follows at a later beat

    def receive(self) -> bool:
        """Read what has arrived; return whether that is something new. Raises OSError and WireError."""
        left = MAX_READ
        try:
            while left > 0:
                data = self.socket.recv(READ_OCTETS)
                if not data:
                    raise ConnectionResetError
                self._received += data
                left -= len(data)
        except BlockingIOError:
            pass
        *lines, self._received = self._received.split(b"\n")
        if len(self._received) > MAX_LINE:
            raise WireError("its line is too long")
        if lines:
            daemon = decode_daemon(lines[-1])
            pid = read_credentials(self.socket).pid or daemon.pid  # 0: it is in another PID namespace
            self.daemon = OtherDaemon(pid, daemon.config, daemon.flows)
        return bool(lines)


class OtherDaemons:
    """The connections to all other daemons. `changed` gets the duplicates of all rules when they change."""

    def __init__(self, own: Callable[[], OtherDaemon], changed: Callable[[Duplicates], None]) -> None:
        self._own = own
        self._changed = changed
        self._listener: socket.socket | None = None
        self._links: list[_Link] = []
        self._line = b""
        self._flows: Sequence[RelayedFlow] = ()
        self._is_outdated = True
        self._duplicates: Duplicates = {}

    def connect(self, listener: socket.socket, connections: Iterable[socket.socket]) -> None:
        """Use the socket at which later daemons connect, and the connections to earlier daemons."""
        self._listener = listener
        self._links += map(_Link, connections)

    def snapshot_changed(self) -> None:
        """Record that this daemon may relay something else now."""
        self._is_outdated = True

    def exchange(self, trusted: Collection[int]) -> None:
        """Accept connections of the `trusted` users, and tell and hear what is new."""
        if self._listener is None:
            return
        self._accept(self._listener, trusted)
        if not self._links and not self._duplicates:
            return
        is_new = self._is_outdated
        if self._is_outdated:
            own = self._own()
            self._line, self._flows, self._is_outdated = encode_daemon(own), own.flows, False
        for link in list(self._links):
            try:
                link.send(self._line)
                is_new |= link.receive()
            except (OSError, WireError):
                link.socket.close()
                self._links.remove(link)
                is_new = True
        if is_new:
            self._compare()

    def _accept(self, listener: socket.socket, trusted: Collection[int]) -> None:
        for connection in accept_all(listener, MAX_DAEMONS):
            if read_credentials(connection).uid in trusted and len(self._links) < MAX_DAEMONS:
                self._links.append(_Link(connection))
            else:
                connection.close()

    def _compare(self) -> None:
        others = {link.daemon.pid: link.daemon for link in self._links if link.daemon is not None}
        found = find_duplicates(self._flows, list(others.values()))
        if found != self._duplicates:
            for rule, duplicates in found.items():
                for duplicate in duplicates:
                    if duplicate not in self._duplicates.get(rule, ()):
                        report(f"rule {rule}: {duplicate.reason}")
            self._duplicates = found
            self._changed(found)
