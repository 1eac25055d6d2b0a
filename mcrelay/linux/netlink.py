"""The links of this host from netlink, and a bell that rings when they change (rtnetlink(7))."""

from __future__ import annotations

import socket

from pyroute2 import IPRoute
from pyroute2.netlink import nlmsg
from pyroute2.netlink.exceptions import NetlinkError

from mcrelay.model.links import Link, LinkTable

_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10  # linux/rtnetlink.h
_IFF_UP = 0x1  # linux/if.h
_RT_SCOPE_UNIVERSE = 0


class LinkTableError(Exception):
    """Netlink gives no answer now: links changed under its hands, or descriptors or memory are short."""


def read_links() -> LinkTable:
    """Return the devices of this network namespace with their global IPv4 addresses. Needs no privilege."""
    try:
        return _read()
    except (OSError, NetlinkError) as error:
        raise LinkTableError(str(error)) from error


def device_of(ifindex: int) -> str:
    """Return the name of a device, or its number once it is gone."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return str(ifindex)


def _read() -> LinkTable:
    with IPRoute() as netlink:
        addresses: dict[int, list[str]] = {}
        for message in netlink.get_addr(family=socket.AF_INET):
            if message["scope"] == _RT_SCOPE_UNIVERSE:
                addresses.setdefault(message["index"], []).append(message.get_attr("IFA_LOCAL"))
        links = [_link(message, addresses.get(message["index"], [])) for message in netlink.get_links()]
    return LinkTable({link.device: link for link in links})


def _link(message: nlmsg, addresses: list[str]) -> Link:
    return Link(
        ifindex=message["index"],
        device=message.get_attr("IFLA_IFNAME"),
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(message["flags"] & _IFF_UP),
        addresses=tuple(addresses),
    )


class LinkMonitor:
    """Rings when a link or an address has changed. What changed is read anew: no message can be missed."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR))

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def silence(self) -> None:
        """Take everything that has been said."""
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: more was said than the socket could hold, and it is read anew anyway
