"""The arguments of `send` and `receive`, which name destinations, devices and addresses of this host."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from dataclasses import dataclass

from mcrelay.linux.constants import SIOCGIFMTU
from mcrelay.model.addresses import format_endpoint, is_group, normalize_address, split_endpoint


class UsageError(Exception):
    """An argument is invalid on this host. The message says which argument to give instead."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IPv4 group or host address, and a UDP port."""

    address: str
    port: int

    def __str__(self) -> str:
        return format_endpoint(self.address, self.port)

    @property
    def is_group(self) -> bool:
        """True if the address is a multicast group."""
        return is_group(self.address)


def parse_endpoints(texts: list[str], port: int | None) -> list[Endpoint]:
    """Parse `GROUP[:PORT]` arguments; `port` is the port of an argument without one.

    Raises UsageError if an argument is invalid or given twice, or if its port is missing.
    """
    endpoints = [_parse_endpoint(text, port) for text in texts]
    for index, endpoint in enumerate(endpoints):
        if endpoint in endpoints[:index]:
            raise UsageError(f"{endpoint} is given twice")
    return endpoints


def _parse_endpoint(text: str, default: int | None) -> Endpoint:
    host, digits = split_endpoint(text)
    host = parse_address(host)
    if digits is not None:
        return Endpoint(host, parse_port(digits))
    if default is None:
        raise UsageError(f"{host} needs a port: give {host}:5001 or --port")
    return Endpoint(host, default)


def parse_address(text: str) -> str:
    """Return an IPv4 address in dotted-decimal form. Raises UsageError if the text is not an address."""
    try:
        return normalize_address(text)
    except ValueError:
        raise UsageError(f"{text!r} is not an IPv4 address such as 239.1.1.1") from None


def parse_port(text: str) -> int:
    """Return a UDP port. Raises UsageError if the text is not a number from 1 to 65535."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise UsageError(f"{text!r} is not a UDP port: give 1 to 65535")
    return int(text)


def device_index(device: str) -> int:
    """Return the interface index of a device of this host. Raises UsageError if there is no such device."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise UsageError(f"this host has no device {device}; its devices are: {names}") from None


def bind_to_device(sock: socket.socket, device: str) -> None:
    """Restrict a socket to one device, regardless of routes. Raises UsageError if there is no such device."""
    device_index(device)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())


def bind(sock: socket.socket, address: str, port: int) -> None:
    """Bind a socket.

    Raises UsageError if the address is not one of this host or is in use, PermissionError if the port needs a
    capability, and another OSError for any other failure.
    """
    try:
        sock.bind((address, port))
    except OSError as error:
        match error.errno:
            case errno.EADDRNOTAVAIL:
                raise UsageError(f"{address} is not an address of this host: see `ip address`") from None
            case errno.EADDRINUSE:
                raise UsageError(
                    f"{format_endpoint(address, port)} is in use by another program: see `ss -ulpn`"
                ) from None
            case errno.EACCES:
                raise PermissionError(error.errno, f"port {port} needs CAP_NET_BIND_SERVICE") from None
        raise


def device_mtu(sock: socket.socket, device: str) -> int:
    """Return the MTU of a device in bytes."""
    answer = fcntl.ioctl(sock, SIOCGIFMTU, struct.pack("16si12x", device.encode(), 0))
    return int(struct.unpack("16si12x", answer)[1])
