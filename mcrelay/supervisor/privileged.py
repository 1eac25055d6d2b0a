"""Every call that needs a capability. All capabilities that no call needs are dropped."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mcrelay.kernel.location import mount_if_missing
from mcrelay.linux import neighbours, socket_filters
from mcrelay.linux.capabilities import Capability, keep_only, privileges
from mcrelay.linux.constants import (
    ETH_P_ALL,
    IP_MTU_DISCOVER,
    IP_MULTICAST_ALL,
    IP_PMTUDISC_DONT,
    IP_RECVERR,
    MCAST_JOIN_SOURCE_GROUP,
    MCAST_LEAVE_SOURCE_GROUP,
    PACKET_FANOUT,
    PACKET_FANOUT_FLAG_UNIQUEID,
    PACKET_FANOUT_HASH,
    PACKET_IGNORE_OUTGOING,
    PACKET_RESERVE,
    PACKET_RX_RING,
    PACKET_VERSION,
    PACKET_VNET_HDR,
    SO_BINDTOIFINDEX,
    SO_SNDBUFFORCE,
    SOL_PACKET,
    TPACKET_V2,
)
from mcrelay.model.addresses import address_to_bytes
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.routes import NextHop
from mcrelay.model.state import Egress, Ingress, Membership
from mcrelay.packet.frame import RESERVED

RING_OCTETS = 32 << 20
BLOCK_OCTETS = 1 << 20
SEND_BUFFER_OCTETS = 8 << 20
ANY_ADDRESS = "0.0.0.0"

_NEEDED = (Capability.CAP_NET_RAW, Capability.CAP_NET_ADMIN)
# A supervisor that is started as root starts processes that become another user.
_NEEDED_AS_ROOT = (*_NEEDED, Capability.CAP_SETUID, Capability.CAP_SETGID)
# For ports below 1024, and for the kernel data plane; and as root, to kill processes of that other user, to
# empty their bounding set, and to read Python's files in a directory that only its owner can read.
_USEFUL = (Capability.CAP_NET_BIND_SERVICE, Capability.CAP_BPF)
_USEFUL_AS_ROOT = (*_USEFUL, Capability.CAP_SETPCAP, Capability.CAP_KILL, Capability.CAP_DAC_READ_SEARCH)


class PrivilegeError(Exception):
    """The process lacks a capability that the relay needs, or the host a user for the children."""


@dataclass(frozen=True, slots=True)
class User:
    """The user that the children run as."""

    name: str
    uid: int
    gid: int


def keep_needed_capabilities() -> None:
    """Drop all capabilities that the supervisor does not need; raises PrivilegeError."""
    try:
        held = privileges()
    except OSError as error:
        raise PrivilegeError(
            f"cannot read /proc/self/status: {format_os_error(error)}: mount proc(5) on /proc"
        ) from None
    needed, useful = (_NEEDED_AS_ROOT, _USEFUL_AS_ROOT) if held.uid == 0 else (_NEEDED, _USEFUL)
    missing = [capability.name for capability in needed if not held.has(capability)]
    if missing:
        raise PrivilegeError(
            f"missing {' and '.join(missing)}: start mcrelay as root with all capabilities (add them to a"
            " container), or as a service with AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN"
        )
    keep_only((*needed, *useful))


def mount_bpf_file_system(run_dir: Path) -> None:
    """Mount the file system that the kernel data plane needs, if it is missing and the process may mount."""
    mount_if_missing(run_dir)


def unprivileged_user() -> User | None:
    """Return the user for the children: `mcrelay` if it exists, else `nobody`; None if not started as root.

    Raises PrivilegeError if there is neither.
    """
    if os.geteuid() != 0:
        return None
    for name in ("mcrelay", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return User(name, entry.pw_uid, entry.pw_gid)
    raise PrivilegeError(
        "this host or container has neither a user `mcrelay` nor `nobody` for the children to run as: add one"
        " (`useradd --system mcrelay`), or start mcrelay as another user than root, with"
        " CAP_NET_RAW and CAP_NET_ADMIN as ambient capabilities"
    )


def users_of_daemons() -> frozenset[int]:
    """Return the users of whose processes this daemon believes that they are daemons."""
    try:
        service = {pwd.getpwnam("mcrelay").pw_uid}
    except KeyError:
        service = set()
    return frozenset({0, os.geteuid(), *service})


def group_of_clients() -> int | None:
    """Return the group whose members may connect: `mcrelay` if it exists; None for that of this process."""
    if os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam("mcrelay").gr_gid
    except KeyError:
        return None


def open_packet_socket() -> socket.socket:
    """Return a packet socket that is bound to no link, and gets no packet; raises OSError."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


def open_ring(ingress: Ingress) -> socket.socket:
    """Return a packet socket with a ring, bound to the link, that accepts no packet yet.

    The worker replaces the filter once its flows are set. Raises OSError.
    """
    ring = open_packet_socket()
    try:
        socket_filters.attach(ring, socket_filters.NOTHING)
        for option, value in (
            (PACKET_VERSION, TPACKET_V2),
            (PACKET_RESERVE, RESERVED),
            (PACKET_VNET_HDR, 1),
            (PACKET_IGNORE_OUTGOING, 1),
        ):
            ring.setsockopt(SOL_PACKET, option, value)
        blocks = RING_OCTETS // BLOCK_OCTETS
        frames = RING_OCTETS // ingress.frame_size
        ring.setsockopt(
            SOL_PACKET, PACKET_RX_RING, struct.pack("=4I", BLOCK_OCTETS, blocks, ingress.frame_size, frames)
        )
        ring.bind((socket.if_indextoname(ingress.ifindex), ETH_P_ALL))
    except OSError:
        ring.close()
        raise
    return ring


def share_packets(ring: socket.socket, group: int | None) -> int:
    """Put a ring into a fanout group (packet(7)), which shares the packets of the link flow by flow.

    Without a `group`, a new one is made. Return the group's number; raises OSError.
    """
    flags = PACKET_FANOUT_HASH if group is not None else PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_UNIQUEID
    ring.setsockopt(SOL_PACKET, PACKET_FANOUT, (group or 0) | flags << 16)
    return ring.getsockopt(SOL_PACKET, PACKET_FANOUT) & 0xFFFF


def open_egress(egress: Egress, port: int | None = None) -> socket.socket:
    """Return a UDP socket that sends from this address, and to which the kernel gives no packet.

    It sends from `port`, or from the port of `egress`. Raises OSError.
    """
    sock = _send_only_udp_socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_OCTETS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        # Without it, the kernel reports packets as sent that a full queue of the device has dropped.
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, egress.loopback)
        sock.setsockopt(
            socket.IPPROTO_IP,
            socket.IP_MULTICAST_IF,
            struct.pack("=4s4si", bytes(4), bytes(4), egress.ifindex),
        )
        sock.bind((egress.source, egress.source_port if port is None else port))
        # A socket that is connected to itself sends to any address, but no packet matches it. Else it would
        # take the packets of other programs that share its port, because its address is more specific.
        _connect_to_itself(sock)
        if egress.routing != "host":  # only now: no route leads through a device that is down
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, egress.ifindex)
        if egress.routing == "link":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _connect_to_itself(sock: socket.socket) -> None:
    address, port = sock.getsockname()
    try:
        sock.connect((address, port))
    except OSError:  # the device of the address is down, so that the host has no route to it
        sock.connect(("127.0.0.1", port))


def open_return_socket(port: int, address: str = ANY_ADDRESS) -> socket.socket | None:
    """Return a socket that gets what comes back to a port, or None if another program has the port.

    It gets answers and ICMP errors, so that the host sends no ICMP errors itself, but only as long as no
    other program binds the port. A port of 0 lets the kernel choose one. Raises OSError.
    """
    try:
        sock = _bind_return_socket(port, address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    # An output sends from this port, and other programs may share it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    return sock


def _bind_return_socket(port: int, address: str) -> socket.socket:
    """Return a bound UDP socket for IPv4.

    If possible, it is an IPv6 socket with a mapped address, to which the kernel prefers all other sockets.
    """
    for family, prefix in ((socket.AF_INET6, "::ffff:"), (socket.AF_INET, "")):
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT and family == socket.AF_INET6:
                continue
            raise
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            socket_filters.attach(sock, socket_filters.NOTHING)
            sock.bind((prefix + address, port))
        except OSError:
            sock.close()
            raise
        break
    return sock


def reserve_for_ourselves(sending: socket.socket, returning: socket.socket) -> None:
    """Let no other program share the port of two sockets, as the kernel chose the port for the relay."""
    for sock in (sending, returning):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def join_socket() -> socket.socket:
    """Return a socket for memberships. It has no port, and receives nothing."""
    sock = _send_only_udp_socket()
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
    return sock


def join(sock: socket.socket, membership: Membership) -> None:
    """Join a group; raises OSError with ENOBUFS if the socket has igmp_max_memberships groups already."""
    _set_membership(sock, membership, socket.IP_ADD_MEMBERSHIP, MCAST_JOIN_SOURCE_GROUP)


def leave(sock: socket.socket, membership: Membership) -> None:
    """Leave a group; raises OSError."""
    _set_membership(sock, membership, socket.IP_DROP_MEMBERSHIP, MCAST_LEAVE_SOURCE_GROUP)


def probe_neighbours(hops: Collection[NextHop]) -> list[NextHop]:
    """Make the kernel ask for the addresses of neighbours; return those it cannot ask; raises OSError."""
    return neighbours.probe_neighbours(hops)


def _set_membership(sock: socket.socket, membership: Membership, any_source: int, one_source: int) -> None:
    group = address_to_bytes(membership.group)
    if membership.source is None:
        request = struct.pack("=4s4si", group, bytes(4), membership.ifindex)  # struct ip_mreqn
        sock.setsockopt(socket.IPPROTO_IP, any_source, request)
    else:
        source = address_to_bytes(membership.source)
        request = struct.pack(
            "=I4xHxx4s120xHxx4s120x", membership.ifindex, socket.AF_INET, group, socket.AF_INET, source
        )  # struct group_source_req
        sock.setsockopt(socket.IPPROTO_IP, one_source, request)


def _send_only_udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    socket_filters.attach(sock, socket_filters.NOTHING)
    return sock
