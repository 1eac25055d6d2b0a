"""The links of this host from netlink, and a monitor of their changes (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from mcrelay.linux.constants import (
    ARPHRD_ETHER,
    IFA_F_SECONDARY,
    IFA_LOCAL,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_NOARP,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_ALT_IFNAME,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_OPERSTATE,
    IFLA_PROP_LIST,
    RTEXT_FILTER_SKIP_STATS,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_LINK,
    SO_RCVBUFFORCE,
)
from mcrelay.linux.rtnetlink import NetlinkConnection, attribute, attributes, decode, each_attribute
from mcrelay.model.addresses import number_to_address
from mcrelay.model.links import Link, LinkAddress, LinkState, LinkTable

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, changed flags
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_U32 = struct.Struct("=I")

_RECEIVE_SIZE = 65536  # bytes
_QUEUE_OCTETS = 4 << 20  # of messages about links; a message has about 1.5 kB
_PAIR_KINDS = ("veth", "vxcan", "netkit")  # the peer of such a device counts as its lower layer

# Operational states: linux/if.h.
_NOT_PRESENT, _DOWN, _LOWER_LAYER_DOWN, _TESTING, _DORMANT = range(1, 6)
_OPERATIONAL_STATES = {
    _NOT_PRESENT: LinkState.NOT_PRESENT,
    _DORMANT: LinkState.DORMANT,
    _TESTING: LinkState.TESTING,
}


class LinkTableError(Exception):
    """Netlink cannot answer now: links changed during the answer, or descriptors or memory are short."""


def read_links() -> LinkTable:
    """Return the devices of this network namespace with their IPv4 addresses. Needs no privilege.

    Raises LinkTableError.
    """
    try:
        with NetlinkConnection() as netlink:
            addresses = _read_addresses(netlink)
            links = list(_read_link_messages(netlink))
    except OSError as error:
        raise LinkTableError(str(error)) from error
    return _link_table(links, addresses)


def device_of(ifindex: int) -> str:
    """Return the name of a device, or its number if the device does not exist."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return str(ifindex)


@dataclass(frozen=True, slots=True)
class _LinkMessage:
    """A device as the kernel describes it: `kind` of a virtual device, such as `veth`, or None."""

    type: int
    ifindex: int
    flags: int
    name: str
    mtu: int
    operational: int
    kind: str | None
    master: int | None
    lower: int | None
    is_lower_elsewhere: bool
    altnames: tuple[str, ...]
    address: bytes | None


def _read_addresses(netlink: NetlinkConnection) -> dict[int, list[LinkAddress]]:
    """Return the IPv4 addresses of each device by its index, in the order of the kernel."""
    found: dict[int, list[LinkAddress]] = {}
    for message in netlink.dump(RTM_GETADDR, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)):
        _, prefix_length, flags, scope, ifindex = _ADDRESS.unpack_from(message.body)
        address = LinkAddress(
            address=number_to_address(int.from_bytes(attributes(message.body, _ADDRESS.size)[IFA_LOCAL])),
            prefix_length=prefix_length,
            scope=scope,
            is_secondary=bool(flags & IFA_F_SECONDARY),
        )
        found.setdefault(ifindex, []).append(address)
    return found


def _read_link_messages(netlink: NetlinkConnection) -> Iterator[_LinkMessage]:
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    body += attribute(IFLA_EXT_MASK, _U32.pack(RTEXT_FILTER_SKIP_STATS))
    for message in netlink.dump(RTM_GETLINK, body):
        _, hardware_type, ifindex, flags, _ = _LINK.unpack_from(message.body)
        found = attributes(message.body, _LINK.size)
        kind = attributes(found.get(IFLA_LINKINFO, b""), 0).get(IFLA_INFO_KIND)
        yield _LinkMessage(
            type=hardware_type,
            ifindex=ifindex,
            flags=flags,
            name=_text(found[IFLA_IFNAME]),
            mtu=_U32.unpack(found[IFLA_MTU])[0],
            operational=found[IFLA_OPERSTATE][0],
            kind=None if kind is None else _text(kind),
            master=_number(found.get(IFLA_MASTER)),
            lower=_number(found.get(IFLA_LINK)),
            is_lower_elsewhere=IFLA_LINK_NETNSID in found,
            altnames=tuple(
                _text(value)
                for attribute_type, value in each_attribute(found.get(IFLA_PROP_LIST, b""), 0)
                if attribute_type == IFLA_ALT_IFNAME
            ),
            address=found.get(IFLA_ADDRESS),
        )


def _link_table(messages: list[_LinkMessage], addresses: Mapping[int, list[LinkAddress]]) -> LinkTable:
    vrfs = {message.ifindex for message in messages if message.kind == "vrf"}
    names = {message.ifindex: message.name for message in messages}
    bridges_in_use = {message.master for message in messages}
    return LinkTable.of(
        Link(
            ifindex=message.ifindex,
            device=message.name,
            mtu=message.mtu,
            state=_state(message, has_ports=message.ifindex in bridges_in_use),
            addresses=tuple(addresses.get(message.ifindex, ())),
            has_neighbours=not message.flags & (IFF_NOARP | IFF_LOOPBACK),
            is_in_vrf=message.master in vrfs,
            lower_device=_lower_device(message, names),
            altnames=message.altnames,
            ethernet_address=message.address.hex(":")
            if message.type == ARPHRD_ETHER and message.address
            else None,
        )
        for message in messages
    )


def _text(value: bytes) -> str:
    """Return the name of a device as text. A name may have any bytes except for `/`, `:` and white space."""
    return value.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(_U32.unpack(value)[0])


def _state(message: _LinkMessage, has_ports: bool) -> LinkState:
    has_carrier = bool(message.flags & IFF_LOWER_UP)
    if not message.flags & IFF_UP:
        return LinkState.NOT_PRESENT if message.operational == _NOT_PRESENT else LinkState.DOWN
    if message.operational == _LOWER_LAYER_DOWN and message.kind not in _PAIR_KINDS:
        return LinkState.LOWER_LAYER_DOWN
    # The kernel assumes a carrier on a bridge that never had a port.
    is_empty_bridge = message.kind == "bridge" and not has_ports
    # A carrier that has just come counts when the kernel has activated the queues of the device.
    if message.operational in (_DOWN, _LOWER_LAYER_DOWN) or not has_carrier or is_empty_bridge:
        return LinkState.NO_CARRIER
    # The state UNKNOWN is normal: of lo, of tunnels, and of drivers that do not follow it.
    return _OPERATIONAL_STATES.get(message.operational, LinkState.UP)


def _lower_device(message: _LinkMessage, names: Mapping[int, str]) -> str | None:
    """Return the device of this namespace that a VLAN or a macvlan stands on; None for a pair of devices."""
    if message.is_lower_elsewhere or message.kind in _PAIR_KINDS:
        return None
    return None if message.lower in (None, message.ifindex) else names.get(message.lower)


class LinkMonitor:
    """A socket that is readable after a link or an address has changed; `read_links` then reads all links."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        with suppress(PermissionError):  # without the capability, the queue is that of other programs
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _QUEUE_OCTETS)
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def read(self) -> frozenset[int]:
        """Return the numbers of the devices that were deleted, or moved away, since the last call.

        Another device may have such a number by now.
        """
        removed: set[int] = set()
        while True:
            try:
                removed.update(_removed_links(self._socket.recv(_RECEIVE_SIZE)))
            except BlockingIOError:
                return frozenset(removed)
            except OSError:
                continue  # ENOBUFS: messages were lost; `read_links` tells all but the devices that came back


def _removed_links(datagram: bytes) -> Iterator[int]:
    for message in decode(datagram):
        if message.type == RTM_DELLINK:
            family, _, ifindex, _, _ = _LINK.unpack_from(message.body)
            if family == socket.AF_UNSPEC:  # else the device has left a bridge
                yield ifindex
