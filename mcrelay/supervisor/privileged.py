"""Every call that needs a capability, and the giving up of all the others."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import resource
import socket
import struct
from dataclasses import dataclass

from mcrelay.linux import socket_filters
from mcrelay.linux.capabilities import Capability, keep_only, privileges
from mcrelay.model.addresses import address_to_bytes
from mcrelay.model.state import Egress, Ingress, Membership, PortReservation
from mcrelay.packet.frame import RESERVED

RING_OCTETS = 32 << 20
BLOCK_OCTETS = 1 << 20
SEND_BUFFER_OCTETS = 8 << 20

_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_VERSION, _PACKET_RESERVE, _PACKET_VNET_HDR = 5, 10, 12, 15  # linux/if_packet.h
_PACKET_FANOUT, _PACKET_IGNORE_OUTGOING = 18, 23
_TPACKET_V2 = 1
_FANOUT_HASH, _FANOUT_UNIQUE_ID = 0, 0x2000
_ETH_P_ALL = 3
_SO_SNDBUFFORCE, _SO_BINDTOIFINDEX = 32, 62  # asm-generic/socket.h
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT, _IP_RECVERR = 10, 0, 11  # linux/in.h
_MCAST_JOIN_SOURCE_GROUP, _MCAST_LEAVE_SOURCE_GROUP, _IP_MULTICAST_ALL = 46, 47, 49

_NEEDED = (Capability.CAP_NET_RAW, Capability.CAP_NET_ADMIN)
# Started as root, the supervisor has processes that become another user.
_NEEDED_AS_ROOT = (*_NEEDED, Capability.CAP_SETUID, Capability.CAP_SETGID)
# Ports below 1024 take one more. As root, it also ends and disarms processes of that other user, and its
# Python may lie in a folder that only its owner can read.
_USEFUL = (Capability.CAP_NET_BIND_SERVICE,)
_USEFUL_AS_ROOT = (*_USEFUL, Capability.CAP_SETPCAP, Capability.CAP_KILL, Capability.CAP_DAC_READ_SEARCH)


class NotPermitted(Exception):
    """The process lacks a capability that the relay cannot do without."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom the children run as."""

    name: str
    uid: int
    gid: int


def keep_needed_capabilities() -> None:
    """Keep the capabilities that a supervisor needs, and no other; NotPermitted where one is missing."""
    held = privileges()
    needed, useful = (_NEEDED_AS_ROOT, _USEFUL_AS_ROOT) if held.uid == 0 else (_NEEDED, _USEFUL)
    missing = [capability.name for capability in needed if not held.has(capability)]
    if missing:
        raise NotPermitted(
            f"missing {' and '.join(missing)}: start mcrelay as root with all capabilities, or as a service "
            "with AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN"
        )
    keep_only((*needed, *useful))


def unprivileged_user() -> User | None:
    """Return whom children shall become: `mcrelay` where it exists, else `nobody`; None when not root."""
    if os.geteuid() != 0:
        return None
    for name in ("mcrelay", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(name, entry.pw_uid, entry.pw_gid)
    raise NotPermitted("this host has neither a user `mcrelay` nor `nobody` for the workers to run as")


def group_of_clients() -> int | None:
    """Return the group that may ask the daemon, `mcrelay` where it exists; None is the process's own."""
    if os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam("mcrelay").gr_gid
    except KeyError:
        return None


def raise_descriptor_limit() -> None:
    """Allow as many open files as the hard limit does: ten thousand groups take five hundred sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_ring(ingress: Ingress) -> socket.socket:
    """Return a packet socket with a ring, bound to the link, that takes no packet yet.

    The worker attaches the filter that opens it, when the flows are in place.
    """
    ring = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        socket_filters.attach(ring, socket_filters.NOTHING)
        for option, value in (
            (_PACKET_VERSION, _TPACKET_V2),
            (_PACKET_RESERVE, RESERVED),
            (_PACKET_VNET_HDR, 1),
            (_PACKET_IGNORE_OUTGOING, 1),
        ):
            ring.setsockopt(_SOL_PACKET, option, value)
        blocks = RING_OCTETS // BLOCK_OCTETS
        frames = RING_OCTETS // ingress.frame_size
        ring.setsockopt(
            _SOL_PACKET, _PACKET_RX_RING, struct.pack("=4I", BLOCK_OCTETS, blocks, ingress.frame_size, frames)
        )
        ring.bind((socket.if_indextoname(ingress.ifindex), _ETH_P_ALL))
    except OSError:
        ring.close()
        raise
    return ring


def share_packets(ring: socket.socket, group: int | None) -> int:
    """Let a ring share its link's packets, flow by flow, with the others of a fanout group (packet(7)).

    Without a `group`, make one. Return the group's number.
    """
    flags = _FANOUT_HASH if group is not None else _FANOUT_HASH | _FANOUT_UNIQUE_ID
    ring.setsockopt(_SOL_PACKET, _PACKET_FANOUT, (group or 0) | flags << 16)
    return ring.getsockopt(_SOL_PACKET, _PACKET_FANOUT) & 0xFFFF


def open_egress(egress: Egress) -> socket.socket:
    """Return a UDP socket that sends from that address and port through that link, and hears nothing."""
    sock = _deaf_udp_socket()
    try:
        if egress.source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, egress.ifindex)
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER_OCTETS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        # Without it, the kernel calls a packet sent that a full queue of the device has dropped.
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sock.setsockopt(
            socket.IPPROTO_IP,
            socket.IP_MULTICAST_IF,
            struct.pack("=4s4si", bytes(4), bytes(4), egress.ifindex),
        )
        sock.bind((egress.source, egress.source_port))
    except OSError:
        sock.close()
        raise
    return sock


def hold_port(hold: PortReservation) -> socket.socket | None:
    """Return a socket that holds the port, or None where somebody has it and so answers for it already."""
    sock = _deaf_udp_socket()
    try:
        sock.bind((hold.address, hold.port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    # From now on an output may send from this port, as in a tunnel of two ways.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def join_socket() -> socket.socket:
    """Return a socket for memberships; it has no port, and no packet is ever delivered to it."""
    sock = _deaf_udp_socket()
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    return sock


def join(sock: socket.socket, membership: Membership) -> None:
    """Add a membership to a socket; ENOBUFS when it has as many as it may (igmp_max_memberships)."""
    _set_membership(sock, membership, socket.IP_ADD_MEMBERSHIP, _MCAST_JOIN_SOURCE_GROUP)


def leave(sock: socket.socket, membership: Membership) -> None:
    """Take a membership from a socket."""
    _set_membership(sock, membership, socket.IP_DROP_MEMBERSHIP, _MCAST_LEAVE_SOURCE_GROUP)


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


def _deaf_udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    socket_filters.attach(sock, socket_filters.NOTHING)
    return sock
