"""Sends many datagrams in one system call; sendmmsg(2) reads arrays that are kept as numpy columns."""

import ctypes
import errno
import os
import socket
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux.constants import SOL_UDP, UDP_SEGMENT

# struct iovec, struct sockaddr_in, struct cmsghdr and struct mmsghdr as they lie in memory on 64-bit Linux.
IOVEC = np.dtype([("base", "<u8"), ("length", "<u8")])
SOCKADDR_IN = np.dtype([("family", "<u2"), ("port", ">u2"), ("address", ">u4"), ("zero", "<u8")])
CONTROL = np.dtype(
    [
        ("ttl_length", "<u8"), ("ttl_level", "<i4"), ("ttl_type", "<i4"), ("ttl", "<u8"),
        ("tos_length", "<u8"), ("tos_level", "<i4"), ("tos_type", "<i4"), ("tos", "<u8"),
        ("segment_length", "<u8"), ("segment_level", "<i4"), ("segment_type", "<i4"), ("segment", "<u8"),
    ]
)  # fmt: skip
MESSAGE = np.dtype(
    [
        ("name", "<u8"), ("name_length", "<u8"), ("iovecs", "<u8"), ("iovec_count", "<u8"),
        ("control", "<u8"), ("control_length", "<u8"), ("flags", "<u8"), ("sent", "<u8"),
    ]
)  # fmt: skip

MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of linux/udp.h, as old kernels have it
MAX_SEGMENTED_OCTETS = 65507  # one IPv4 datagram: 65535 less the headers of IP and UDP

CMSG_HEADER = 16
CONTROL_WORDS = CONTROL.itemsize // 8
TTL_WORD, TOS_WORD, SEGMENT_WORD = 2, 5, 8  # indexes of the values in a CONTROL, in words of 64 bits
MESSAGE_WORDS = MESSAGE.itemsize // 8
COUNT_WORD, CONTROL_LENGTH_WORD = 3, 5  # indexes in a MESSAGE, in words of 64 bits
CONTROL_PLAIN = 48  # TTL and TOS
CONTROL_SEGMENTED = 72  # TTL, TOS and the size of a segment

# Errors of a segmented message that the device does not support: no checksum offload (EIO), or a segment over
# the MTU (EINVAL, EMSGSIZE). The same payloads are then sent one by one.
SEGMENTS_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE})
# An ICMP error about an earlier packet is returned by the next send, which the kernel does not attempt then.
ERRORS_OF_EARLIER_PACKETS = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENOPROTOOPT,
        errno.EPROTO,
    }
)

_sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_sendmmsg.restype = ctypes.c_int
# For calls that do not block and nearly always succeed: it keeps Python's lock and does not save errno. Its
# second argument is a `Messages.place`.
send_quickly = ctypes.PyDLL(None).sendmmsg


def address_of(array: NDArray[Any]) -> int:
    """Return the memory address of the first item of `array`."""
    return int(array.__array_interface__["data"][0])


def sockaddrs(destinations: list[tuple[int, int]]) -> NDArray[Any]:
    """Return one sockaddr_in for each (IPv4 address as a number, UDP port); shape (n,), dtype SOCKADDR_IN."""
    table = np.zeros(len(destinations), SOCKADDR_IN)
    table["family"] = socket.AF_INET
    if destinations:
        table["address"], table["port"] = zip(*destinations, strict=True)
    return table


@dataclass(frozen=True, slots=True)
class MessageFailure:
    """A message, or a datagram of it, that the kernel did not send."""

    message: int
    code: int
    """An errno."""
    datagrams: int
    payload: int = 0
    """The first payload of the message that failed."""


class Messages:
    """Holds the arrays that send up to `capacity` payloads in as many messages.

    Fill `iovec` with address and length of each payload, `header` and `control` of each message, then `send`.
    A message takes one payload, or a run of up to MAX_SEGMENTS consecutive payloads of one length (the last
    may be shorter) that the kernel or the device cuts into datagrams again.
    """

    def __init__(self, capacity: int) -> None:
        self.refused_segment: int | None = None
        """The length in bytes of a segment that the kernel refused. The reader sets it back to None."""
        self.iovec = np.zeros(capacity, IOVEC)
        self.control = np.zeros(capacity, CONTROL)
        self.header = np.zeros(capacity, MESSAGE)
        self._iovec_address = address_of(self.iovec)
        self._header_address = address_of(self.header)
        self.iovec_words = self.iovec.view(np.uint64).data
        """`iovec` as numbers: address and length in turn."""
        self._header_words = self.header.view(np.uint64).data
        self._control_words = self.control.view(np.uint64).data
        for option, level, kind, size in (
            ("ttl", socket.IPPROTO_IP, socket.IP_TTL, 4),
            ("tos", socket.IPPROTO_IP, socket.IP_TOS, 4),
            ("segment", SOL_UDP, UDP_SEGMENT, 2),
        ):
            self.control[option + "_length"] = CMSG_HEADER + size
            self.control[option + "_level"] = level
            self.control[option + "_type"] = kind
        self.header["name_length"] = SOCKADDR_IN.itemsize
        place = np.arange(capacity, dtype=np.uint64)
        self.header["control"] = address_of(self.control) + place * CONTROL.itemsize

    def compose(
        self,
        first: NDArray[Any],
        count: NDArray[Any],
        name: NDArray[Any],
        ttl: NDArray[Any] | int,
        tos: NDArray[Any] | int,
    ) -> int:
        """Fill one message for each run of payloads, and return the number of messages, m.

        A message takes `count` payloads of `iovec` from index `first` on. `name` is the memory address of its
        destination (sockaddr_in), `ttl` and `tos` are its header fields. All are integers of shape (m,).
        """
        size = len(first)
        header, control = self.header[:size], self.control[:size]
        header["name"] = name
        header["iovecs"] = self._iovec_address + first * IOVEC.itemsize
        header["iovec_count"] = count
        header["control_length"] = np.where(count > 1, CONTROL_SEGMENTED, CONTROL_PLAIN)
        control["ttl"] = ttl
        control["tos"] = tos
        control["segment"] = self.iovec["length"][first]
        return size

    def prepare(self, names: NDArray[Any]) -> None:
        """Prepare one message for each of the `names` (dtype SOCKADDR_IN), for `send_quickly`.

        All messages have the same payloads: as many as `set_run` says, from the first one of `iovec` on.
        """
        header = self.header[: len(names)]
        header["name"] = address_of(names) + np.arange(len(names), dtype=np.uint64) * SOCKADDR_IN.itemsize
        header["iovecs"] = self._iovec_address
        self.set_run(0, len(names), 1, 0)

    def set_run(self, first: int, last: int, count: int, length: int) -> None:
        """Let the prepared messages `first` to `last` - 1 take `count` payloads of `length` octets."""
        control_length = CONTROL_SEGMENTED if count > 1 else CONTROL_PLAIN
        for message in range(first, last):
            header = message * MESSAGE_WORDS
            self._header_words[header + COUNT_WORD] = count
            self._header_words[header + CONTROL_LENGTH_WORD] = control_length
            self._control_words[message * CONTROL_WORDS + SEGMENT_WORD] = length

    def set_ttl(self, message: int, ttl: int) -> None:
        """Set the TTL of one message."""
        self._control_words[message * CONTROL_WORDS + TTL_WORD] = ttl

    def set_tos(self, message: int, tos: int) -> None:
        """Set the TOS octet of one message."""
        self._control_words[message * CONTROL_WORDS + TOS_WORD] = tos

    def place(self, message: int) -> ctypes.c_void_p:
        """Return the memory address of a message, as `send_quickly` takes it."""
        return ctypes.c_void_p(self._header_address + message * MESSAGE.itemsize)

    def send(
        self, descriptor: int, first: int, last: int, flags: int = socket.MSG_DONTWAIT
    ) -> list[MessageFailure]:
        """Send messages `first` to `last` - 1, and return the failures.

        Messages after one that fails are sent, too. With the default `flags` the call never blocks: if the
        socket's buffer is full, a message fails with EAGAIN. With 0 it waits for room.
        """
        failures: list[MessageFailure] = []
        while first < last:
            at = self._header_address + first * MESSAGE.itemsize
            sent = _sendmmsg(descriptor, at, last - first, flags)
            if sent > 0:
                first += sent
                continue
            if code := _failure_of(descriptor, at, flags, ctypes.get_errno()):
                failures += self._failures(descriptor, first, code, flags)
            first += 1
        return failures

    def _failures(self, descriptor: int, message: int, code: int, flags: int) -> list[MessageFailure]:
        """Return the failures of a message that failed; send the payloads of a refused run one by one."""
        datagrams = int(self.header["iovec_count"][message])
        if code not in SEGMENTS_REFUSED or datagrams == 1:
            return [MessageFailure(message, code, datagrams)]
        self.refused_segment = int(self.control["segment"][message])
        return self._send_singly(descriptor, message, flags)

    def _send_singly(self, descriptor: int, message: int, flags: int) -> list[MessageFailure]:
        """Send the payloads of a refused segmented message one by one; return the failures."""
        one = self.header[message : message + 1].copy()
        payloads = int(one["iovec_count"][0])
        one["iovec_count"] = 1
        one["control_length"] = CONTROL_PLAIN
        failures = []
        for payload in range(payloads):
            if code := _failure_of(descriptor, address_of(one), flags):
                failures.append(MessageFailure(message, code, 1, payload))
            one["iovecs"] += IOVEC.itemsize
        return failures


def _failure_of(descriptor: int, at: int, flags: int, code: int = errno.EINTR) -> int:
    """Send the message at memory address `at` until it succeeds or fails for good; return its errno, or 0.

    `code` is the errno of an earlier try, EINTR if this is the first try.
    """
    tries = 2
    while code == errno.EINTR or (code in ERRORS_OF_EARLIER_PACKETS and tries):
        tries -= code != errno.EINTR
        if _sendmmsg(descriptor, at, 1, flags) == 1:
            return 0
        code = ctypes.get_errno()
    return code


def describe(code: int) -> str:
    """Return the name and the meaning of an errno: `EAGAIN (Resource temporarily unavailable)`."""
    return f"{errno.errorcode.get(code, code)} ({os.strerror(code)})"
