"""Many datagrams in one system call: the arrays that recvmmsg(2) writes, read as numpy columns."""

import ctypes
import errno
import os
import socket

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux.sendmmsg import IOVEC, MESSAGE, SOCKADDR_IN, address_of

SO_TIMESTAMPNS = 35  # asm-generic/socket.h, on 64-bit machines
IP_RECVTTL = 12  # linux/in.h

# The control messages that `announce` asks for, in the order in which the kernel writes them.
CONTROL = np.dtype(
    [
        ("time_header", "V16"), ("seconds", "<i8"), ("nanoseconds", "<i8"),
        ("ttl_header", "V16"), ("ttl", "<i4"), ("ttl_pad", "V4"),
        ("tos_header", "V16"), ("tos", "u1"), ("tos_pad", "V7"),
    ]
)  # fmt: skip

# Room for the largest datagram, so that none is cut. The odd 64 octets keep equal places of neighbouring rows
# from competing for one line of the processor's cache; memory that no datagram reaches is never taken.
ROW = 65536 + 64

_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_recvmmsg.restype = ctypes.c_int


def announce(sock: socket.socket) -> None:
    """Ask the kernel to hand over time of arrival, TTL and TOS with each datagram of a socket."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)


class Arrivals:
    """Room for `capacity` datagrams of sockets that were `announce`d.

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
        self._make_ready(capacity)

    def receive(self, descriptor: int) -> int:
        """Take what waits at a socket, without waiting for more, and return how many datagrams that is."""
        while True:
            count = _recvmmsg(descriptor, self._header_address, self.capacity, socket.MSG_DONTWAIT, None)
            if count > 0:
                self._make_ready(count)
                return int(count)
            match ctypes.get_errno():
                case errno.EAGAIN:
                    return 0
                case errno.EINTR:
                    continue
                case code:
                    raise OSError(code, os.strerror(code))

    def _make_ready(self, count: int) -> None:
        """Say again how much room there is, where the kernel wrote how much of it was taken."""
        self._header["name_length"][:count] = SOCKADDR_IN.itemsize
        self._header["control_length"][:count] = CONTROL.itemsize

    def times(self, count: int) -> NDArray[np.int64]:
        """Return when each of the first `count` came, in nanoseconds since 1970; shape (count,)."""
        stamps = self._control[:count]
        nanoseconds: NDArray[np.int64] = stamps["seconds"] * 10**9 + stamps["nanoseconds"]
        return nanoseconds
