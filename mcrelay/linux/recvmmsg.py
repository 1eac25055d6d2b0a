"""Receives many datagrams in one system call; recvmmsg(2) writes arrays that are read as numpy columns."""

import ctypes
import errno
import os
import socket

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux.constants import IP_RECVTTL, SO_TIMESTAMPNS
from mcrelay.linux.sendmmsg import IOVEC, MESSAGE, SOCKADDR_IN, address_of

# The control messages that `request_control_messages` asks for, in the order in which the kernel writes them.
CONTROL = np.dtype(
    [
        ("time_header", "V16"), ("seconds", "<i8"), ("nanoseconds", "<i8"),
        ("ttl_header", "V16"), ("ttl", "<i4"), ("ttl_pad", "V4"),
        ("tos_header", "V16"), ("tos", "u1"), ("tos_pad", "V7"),
    ]
)  # fmt: skip

# The size of a row in bytes, for the largest datagram. The additional 64 bytes keep the starts of rows from
# sharing a set of the processor's cache. The kernel never allocates the pages that no datagram reaches.
ROW = 65536 + 64

_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_recvmmsg.restype = ctypes.c_int


def request_control_messages(sock: socket.socket) -> None:
    """Let the kernel add time of arrival, TTL and TOS to each datagram of a socket."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)


class Arrivals:
    """Room for `capacity` datagrams of sockets with control messages (`request_control_messages`).

    After `receive` returned n, the first n rows are valid: `octets` (uint8, shape (capacity, ROW)), and the
    columns of shape (capacity,): `length` of the payload, `source` (IPv4 address), `source_port`, `ttl` and
    `tos`.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.octets = np.zeros((capacity, ROW), np.uint8)
        self._iovec = np.zeros(capacity, IOVEC)
        self._sender = np.zeros(capacity, SOCKADDR_IN)
        self._control = np.zeros(capacity, CONTROL)
        self._header = np.zeros(capacity, MESSAGE)
        rows = np.arange(capacity, dtype=np.uint64)
        self._iovec["base"] = address_of(self.octets) + rows * ROW
        self._iovec["length"] = ROW
        self._header["name"] = address_of(self._sender) + rows * SOCKADDR_IN.itemsize
        self._header["iovecs"] = address_of(self._iovec) + rows * IOVEC.itemsize
        self._header["iovec_count"] = 1
        self._header["control"] = address_of(self._control) + rows * CONTROL.itemsize
        self.length = self._header["sent"]  # mmsghdr has one field for what was sent or received
        self.source, self.source_port = self._sender["address"], self._sender["port"]
        self.ttl, self.tos = self._control["ttl"], self._control["tos"]
        self._header_address = address_of(self._header)
        self._restore_lengths(capacity)

    def receive(self, descriptor: int) -> int:
        """Receive the datagrams that wait at a socket; return their number. Never blocks; raises OSError."""
        while True:
            count = _recvmmsg(descriptor, self._header_address, self.capacity, socket.MSG_DONTWAIT, None)
            if count > 0:
                self._restore_lengths(count)
                return int(count)
            match ctypes.get_errno():
                case errno.EAGAIN:
                    return 0
                case errno.EINTR:
                    continue
                case code:
                    raise OSError(code, os.strerror(code))

    def _restore_lengths(self, count: int) -> None:
        """Restore the lengths of the buffers, which the kernel overwrites with the lengths that it used."""
        self._header["name_length"][:count] = SOCKADDR_IN.itemsize
        self._header["control_length"][:count] = CONTROL.itemsize

    def times(self, count: int) -> NDArray[np.int64]:
        """Return the arrival times of the first `count` datagrams, nanoseconds since 1970; shape (count,)."""
        stamps = self._control[:count]
        nanoseconds: NDArray[np.int64] = stamps["seconds"] * 10**9 + stamps["nanoseconds"]
        return nanoseconds
