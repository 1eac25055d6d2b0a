"""Sockets that receive only the packets of one group or host address."""

from __future__ import annotations

import errno
import socket
import struct

from mcrelay.linux.constants import (
    IP_MULTICAST_ALL,
    MCAST_JOIN_GROUP,
    MCAST_JOIN_SOURCE_GROUP,
    SK_MEMINFO_DROPS,
    SO_MEMINFO,
    SO_RCVBUFFORCE,
)
from mcrelay.linux.recvmmsg import request_control_messages
from mcrelay.model.addresses import address_to_bytes
from mcrelay.traffic.endpoint import Endpoint, UsageError, bind, bind_to_device, device_index

MEMINFO = struct.Struct("9I")  # the answer of SO_MEMINFO, linux/sock_diag.h

BUFFER_BYTES = 64 << 20  # the kernel doubles it, which is enough for about 58,000 packets of 1400 octets


def open_receiver(endpoint: Endpoint, device: str | None, sources: list[str]) -> socket.socket:
    """Return a socket that is bound to `endpoint` and has joined its group.

    If `sources` is not empty, the socket receives only packets from these addresses. Raises UsageError if an
    argument is invalid on this host, and OSError for any other failure.
    """
    if sources and not endpoint.is_group:
        raise UsageError(f"--sources is for multicast groups, and {endpoint.address} is not one")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        _set_up(sock, endpoint, device, sources)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_up(sock: socket.socket, endpoint: Endpoint, device: str | None, sources: list[str]) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other receivers can use the port, too
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)  # no packets of groups that it did not join
    request_control_messages(sock)
    _enlarge_buffer(sock)
    if device is not None:
        bind_to_device(sock, device)
    bind(sock, endpoint.address, endpoint.port)
    if endpoint.is_group:
        _join(sock, endpoint, 0 if device is None else device_index(device), sources)


def _enlarge_buffer(sock: socket.socket) -> None:
    """Set the largest receive buffer that the kernel allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


def _join(sock: socket.socket, endpoint: Endpoint, index: int, sources: list[str]) -> None:
    request = struct.pack("=I4x", index) + _sockaddr(endpoint.address)  # struct group_req
    try:
        if not sources:
            sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_GROUP, request)
        for source in sources:
            sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, request + _sockaddr(source))
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise UsageError(f"no route to {endpoint.address}: give a device with --interface") from None
        raise


def _sockaddr(address: str) -> bytes:
    """Return a struct sockaddr_storage."""
    return struct.pack("=HH4s120x", socket.AF_INET, 0, address_to_bytes(address))


def buffer_size(sock: socket.socket) -> int:
    """Return the size of a socket's receive buffer in octets, as the kernel counts them."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def count_drops(sock: socket.socket) -> int:
    """Return how many datagrams the kernel dropped at a socket, mostly because its buffer was full.

    SO_RXQ_OVFL gives the same number, but only with the next datagram, and thus not the drops after the last
    datagram.
    """
    answer = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size)
    return int(MEMINFO.unpack(answer)[SK_MEMINFO_DROPS])
