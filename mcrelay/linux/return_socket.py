"""Reads what comes back to the port of a UDP socket: the senders of answers, and ICMP errors.

The kernel queues an ICMP error about a datagram that was sent from the port (ip(7), IP_RECVERR). An address
is a dotted quad, also if the socket is an IPv6 one that receives IPv4 packets.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mcrelay.linux.constants import IP_RECVERR, IPV6_RECVERR, SO_EE_ORIGIN_ICMP
from mcrelay.model.addresses import number_to_address

_SOCK_EXTENDED_ERR = struct.Struct("=IBBBxII")  # linux/errqueue.h
# After it, the address of who sent the ICMP error: the offset of its last four octets in a sockaddr_in and in
# a sockaddr_in6.
_OFFENDER = {(socket.IPPROTO_IP, IP_RECVERR): 4, (socket.IPPROTO_IPV6, IPV6_RECVERR): 20}
_CONTROL_OCTETS = 512
_MAPPED = "::ffff:"  # the prefix of an IPv4 address as an IPv6 address (RFC 4291)


@dataclass(frozen=True, slots=True)
class ReturnedError:
    """An ICMP error, with the destination of the datagram that it is about, and who sent the error."""

    destination: str
    port: int
    kind: int
    """The type of the ICMP message."""
    code: int
    offender: str


def read_errors(sock: socket.socket, limit: int) -> Iterator[ReturnedError]:
    """Yield the next ICMP errors of a socket, at most `limit`."""
    for _ in range(limit):
        try:
            _, controls, _, (destination, port, *_) = sock.recvmsg(
                0, _CONTROL_OCTETS, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except OSError:
            return
        for level, option, data in controls:
            if error := _parse_error(_OFFENDER.get((level, option)), data):
                yield ReturnedError(destination.removeprefix(_MAPPED), port, *error)


def _parse_error(offender: int | None, data: bytes) -> tuple[int, int, str] | None:
    """Return type, code and sender of an ICMP error, or None if the error is of another origin."""
    if offender is None or len(data) < (end := _SOCK_EXTENDED_ERR.size + offender + 4):
        return None
    _, origin, kind, code, _, _ = _SOCK_EXTENDED_ERR.unpack_from(data)
    if origin != SO_EE_ORIGIN_ICMP:
        return None
    return kind, code, number_to_address(int.from_bytes(data[end - 4 : end], "big"))


def read_senders(sock: socket.socket, limit: int) -> Iterator[tuple[str, int]]:
    """Yield address and port of the senders of the next datagrams, at most `limit`; discard the datagrams."""
    for _ in range(limit):
        try:
            _, (address, port, *_) = sock.recvfrom(0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            continue  # the error of an ICMP message, which the queue of errors has, too
        yield address.removeprefix(_MAPPED), port
