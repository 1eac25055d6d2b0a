"""Who a client is, as the kernel says, and whether that may see what packets carry."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from mcrelay.linux.constants import SO_PEERGROUPS

_MAX_GROUPS = 256  # Python reads at most 1024 octets of an option
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """The user of a client's process at the moment it connected, and all its groups."""

    uid: int
    groups: frozenset[int]


def peer(connected: socket.socket) -> Peer:
    """Return who is at the other end of a Unix socket."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(credentials)
    return Peer(uid, frozenset((gid, *_supplementary(connected))))


def _supplementary(connected: socket.socket) -> tuple[int, ...]:
    try:
        groups = connected.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * _MAX_GROUPS)
    except OSError:  # ERANGE: there are more; whoever is in so many is known by the first of them
        return ()
    return struct.unpack(f"{len(groups) // 4}I", groups)


def may_trace(peer: Peer, daemon_uid: int | None, socket_gid: int | None) -> bool:
    """Whether this is root, the daemon's own user, or a member of the socket's group."""
    return peer.uid in (0, daemon_uid) or socket_gid in peer.groups
