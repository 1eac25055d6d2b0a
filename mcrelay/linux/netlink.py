"""The links of this host from netlink, and a monitor of their changes (rtnetlink(7))."""

from __future__ import annotations

import socket

from pyroute2 import IPRoute
from pyroute2.netlink import nlmsg
from pyroute2.netlink.exceptions import NetlinkError

from mcrelay.linux.constants import (
    IFA_F_SECONDARY,
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_UP,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_LINK,
)
from mcrelay.model.links import Link, LinkAddress, LinkTable

_RECEIVE_SIZE = 65536  # bytes


class LinkTableError(Exception):
    """Netlink cannot answer now: links changed during the answer, or descriptors or memory are short."""


def read_links() -> LinkTable:
    """Return the devices of this network namespace with their IPv4 addresses. Needs no privilege.

    Raises LinkTableError.
    """
    try:
        return _read()
    except (OSError, NetlinkError) as error:
        raise LinkTableError(str(error)) from error


def device_of(ifindex: int) -> str:
    """Return the name of a device, or its number if the device does not exist."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return str(ifindex)


def _read() -> LinkTable:
    with IPRoute() as netlink:
        addresses: dict[int, list[LinkAddress]] = {}
        for message in netlink.get_addr(family=socket.AF_INET):
            addresses.setdefault(message["index"], []).append(_address(message))
        messages = list(netlink.get_links())
    vrfs = {message["index"] for message in messages if _kind(message) == "vrf"}
    links = [_link(message, addresses.get(message["index"], []), vrfs) for message in messages]
    return LinkTable({link.device: link for link in links})


def _address(message: nlmsg) -> LinkAddress:
    return LinkAddress(
        address=message.get_attr("IFA_LOCAL"),
        prefix_length=message["prefixlen"],
        scope=message["scope"],
        is_secondary=bool(message["flags"] & IFA_F_SECONDARY),
    )


def _link(message: nlmsg, addresses: list[LinkAddress], vrfs: set[int]) -> Link:
    return Link(
        ifindex=message["index"],
        device=message.get_attr("IFLA_IFNAME"),
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(message["flags"] & IFF_UP),
        addresses=tuple(addresses),
        has_neighbours=not message["flags"] & (IFF_NOARP | IFF_LOOPBACK),
        is_in_vrf=message.get_attr("IFLA_MASTER") in vrfs,
    )


def _kind(message: nlmsg) -> str | None:
    """Return the kind of a virtual device, such as `veth`; None for a real device."""
    info = message.get_attr("IFLA_LINKINFO")
    kind: str | None = info and info.get_attr("IFLA_INFO_KIND")
    return kind


class LinkMonitor:
    """A socket that is readable after a link or an address has changed; `read_links` then reads all links."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Discard all messages that have arrived."""
        while True:
            try:
                self._socket.recv(_RECEIVE_SIZE)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: messages were lost, which does not matter
