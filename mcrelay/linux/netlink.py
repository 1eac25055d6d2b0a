"""The links of this host from netlink, and a monitor of their changes (rtnetlink(7))."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from pyroute2 import IPRoute
from pyroute2.netlink import nlmsg
from pyroute2.netlink.exceptions import NetlinkError

from mcrelay.linux.constants import (
    ARPHRD_ETHER,
    IFA_F_SECONDARY,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_NOARP,
    IFF_UP,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_LINK,
)
from mcrelay.model.links import Link, LinkAddress, LinkState, LinkTable

_RECEIVE_SIZE = 65536  # bytes
_PAIR_KINDS = ("veth", "vxcan", "netkit")  # the peer of such a device counts as its lower layer
_OPERATIONAL_STATES = {
    "NOTPRESENT": LinkState.NOT_PRESENT,
    "DORMANT": LinkState.DORMANT,
    "TESTING": LinkState.TESTING,
}


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
    names = {message["index"]: _name(message.get_attr("IFLA_IFNAME")) for message in messages}
    bridges_in_use = {message.get_attr("IFLA_MASTER") for message in messages}
    return LinkTable.of(
        Link(
            ifindex=message["index"],
            device=names[message["index"]],
            mtu=message.get_attr("IFLA_MTU"),
            state=_state(message, has_ports=message["index"] in bridges_in_use),
            addresses=tuple(addresses.get(message["index"], ())),
            has_neighbours=not message["flags"] & (IFF_NOARP | IFF_LOOPBACK),
            is_in_vrf=message.get_attr("IFLA_MASTER") in vrfs,
            lower_device=_lower_device(message, names),
            altnames=_altnames(message),
            ethernet_address=message.get_attr("IFLA_ADDRESS")
            if message["ifi_type"] == ARPHRD_ETHER
            else None,
        )
        for message in messages
    )


def _address(message: nlmsg) -> LinkAddress:
    return LinkAddress(
        address=message.get_attr("IFA_LOCAL"),
        prefix_length=message["prefixlen"],
        scope=message["scope"],
        is_secondary=bool(message["flags"] & IFA_F_SECONDARY),
    )


def _name(name: str | bytes) -> str:
    """Return the name of a device as text. A name may have any bytes except for `/`, `:` and white space."""
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name


def _state(message: nlmsg, has_ports: bool) -> LinkState:
    operational = message.get_attr("IFLA_OPERSTATE")
    has_carrier = bool(message["flags"] & IFF_LOWER_UP)
    is_pair = _kind(message) in _PAIR_KINDS
    if not message["flags"] & IFF_UP:
        return LinkState.NOT_PRESENT if operational == "NOTPRESENT" else LinkState.DOWN
    if operational == "LOWERLAYERDOWN" and not is_pair:
        return LinkState.LOWER_LAYER_DOWN
    # The kernel assumes a carrier on a bridge that never had a port.
    is_empty_bridge = _kind(message) == "bridge" and not has_ports
    # A carrier that has just come counts when the kernel has activated the queues of the device.
    if operational in ("DOWN", "LOWERLAYERDOWN") or not has_carrier or is_empty_bridge:
        return LinkState.NO_CARRIER
    # The state UNKNOWN is normal: of lo, of tunnels, and of drivers that do not follow it.
    return _OPERATIONAL_STATES.get(operational, LinkState.UP)


def _lower_device(message: nlmsg, names: Mapping[int, str]) -> str | None:
    """Return the device of this namespace that a VLAN or a macvlan stands on; None for a pair of devices."""
    if message.get_attr("IFLA_LINK_NETNSID") is not None or _kind(message) in _PAIR_KINDS:
        return None
    lower: int | None = message.get_attr("IFLA_LINK")
    return None if lower is None or lower == message["index"] else names.get(lower)


def _altnames(message: nlmsg) -> tuple[str, ...]:
    properties = message.get_attr("IFLA_PROP_LIST")
    return tuple(map(_name, properties.get_attrs("IFLA_ALT_IFNAME"))) if properties else ()


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
