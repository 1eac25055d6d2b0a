"""What `send` and `receive` are told on the command line about the network: destinations and devices."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from dataclasses import dataclass

from mcrelay.linux.constants import SIOCGIFMTU
from mcrelay.model.addresses import format_endpoint, is_group, normalize_address, split_endpoint


class UsageError(Exception):
    """What was asked for cannot be done; the message says what to ask for instead."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A group or an address, and a UDP port."""

    address: str
    port: int

    def __str__(self) -> str:
        return format_endpoint(self.address, self.port)

    @property
    def is_group(self) -> bool:
        """Whether it is a multicast group."""
        return is_group(self.address)


def parse_endpoints(texts: list[str], port: int | None) -> list[Endpoint]:
    """Return what `GROUP[:PORT]` arguments mean; `port` is for those that name none."""
    found = [_parse_endpoint(text, port) for text in texts]
    for place, one in enumerate(found):
        if one in found[:place]:
            raise UsageError(f"{one} is given twice")
    return found


def _parse_endpoint(text: str, default: int | None) -> Endpoint:
    host, digits = split_endpoint(text)
    host = parse_address(host)
    if digits is not None:
        return Endpoint(host, parse_port(digits))
    if default is None:
        raise UsageError(f"{host} needs a port: give {host}:5001 or --port")
    return Endpoint(host, default)


def parse_address(text: str) -> str:
    """Return an IPv4 address as it is usually written."""
    try:
        return normalize_address(text)
    except ValueError:
        raise UsageError(f"{text!r} is no IPv4 address such as 239.1.1.1") from None


def parse_port(text: str) -> int:
    """Return a UDP port."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise UsageError(f"{text!r} is no UDP port: give 1 to 65535")
    return int(text)


def device_index(device: str) -> int:
    """Return the index of a device of this host."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise UsageError(f"no device {device} here; there are: {names}") from None


def bind_to_device(sock: socket.socket, device: str) -> None:
    """Let a socket send and receive through one device only, whatever the routes say."""
    device_index(device)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())


def bind(sock: socket.socket, address: str, port: int) -> None:
    """Bind a socket, and say what to do where that cannot be."""
    try:
        sock.bind((address, port))
    except OSError as error:
        match error.errno:
            case errno.EADDRNOTAVAIL:
                raise UsageError(f"{address} is no address of this host: see `ip address`") from None
            case errno.EADDRINUSE:
                raise UsageError(
                    f"{format_endpoint(address, port)} is taken by another program: see `ss -ulpn`"
                ) from None
            case errno.EACCES:
                raise PermissionError(error.errno, f"port {port} needs CAP_NET_BIND_SERVICE") from None
        raise


def device_mtu(sock: socket.socket, device: str) -> int:
    """Return how many octets a packet may have on a device."""
    answer = fcntl.ioctl(sock, SIOCGIFMTU, struct.pack("16si12x", device.encode(), 0))
    return int(struct.unpack("16si12x", answer)[1])
