"""The user of a client, as the kernel knows it, and whether this user may trace packets."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from mcrelay.linux.constants import SO_PEERGROUPS

_MAX_GROUPS = 256  # Python reads at most 1024 octets of an option
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """The user of the client when it connected, and all groups of that user."""

    uid: int
    groups: frozenset[int]


def read_peer(connected: socket.socket) -> Peer:
    """Return the user at the other end of a Unix socket."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(credentials)
    return Peer(uid, frozenset((gid, *_supplementary(connected))))


def _supplementary(connected: socket.socket) -> tuple[int, ...]:
    try:
        groups = connected.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * _MAX_GROUPS)
    except OSError:  # ERANGE: there are more groups than that; only the first one counts then
        return ()
    return struct.unpack(f"{len(groups) // 4}I", groups)


def may_trace(peer: Peer, daemon_uid: int | None, socket_gid: int | None) -> bool:
    """Return whether this is root, the user of the daemon, or a member of the socket's group."""
    return peer.uid in (0, daemon_uid) or socket_gid in peer.groups
