"""The network devices of the host, as netlink last reported them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from mcrelay.model.addresses import LOOPBACK_DEVICE, broadcast_address, is_loopback

LONGEST_BROADCAST_PREFIX = 30  # two hosts, as of a tunnel (RFC 3021), need no broadcast address
LOOPBACK_IFINDEX = 1  # of the device lo in every network namespace (include/net/flow.h)


class AddressScope(IntEnum):
    """The scope of an address (ip-address(8)): a larger number is a smaller part of the network."""

    GLOBAL = 0
    SITE = 200
    LINK = 253
    HOST = 254


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An IPv4 address of a device, with the length of its prefix.

    `scope` is a number of AddressScope, or any other that the administrator gave. A secondary address lies in
    the subnet of an address that the device had before.
    """

    address: str
    prefix_length: int = 24
    scope: int = AddressScope.GLOBAL
    is_secondary: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A network device, with all its IPv4 addresses in the order of the kernel.

    `has_neighbours` is False for a device without ARP, such as a tunnel. `is_in_vrf` is True for a device
    whose master is a VRF (ip-vrf(8)), which has routes of its own.
    """

    ifindex: int
    device: str
    mtu: int = 1500
    up: bool = True
    addresses: tuple[LinkAddress, ...] = ()
    has_neighbours: bool = True
    is_in_vrf: bool = False

    @property
    def primary_address(self) -> str | None:
        """The address that packets to a group are sent from: the first one of the largest scope.

        Secondary addresses do not count, nor do addresses of host scope, except on the loopback device.
        """
        largest = AddressScope.HOST if self.device == LOOPBACK_DEVICE else AddressScope.LINK
        usable = [entry for entry in self.addresses if not entry.is_secondary and entry.scope <= largest]
        return min(usable, key=lambda entry: entry.scope).address if usable else None


@dataclass(frozen=True, slots=True)
class LinkTable:
    """All network devices by their names."""

    links: Mapping[str, Link] = field(default_factory=dict)

    def get(self, device: str) -> Link | None:
        """Return the device of this name, or None if it is absent."""
        return self.links.get(device)

    def device_of(self, ifindex: int) -> str:
        """Return the name of a device, or its number if the device is absent."""
        names = (link.device for link in self.links.values() if link.ifindex == ifindex)
        return next(names, str(ifindex))

    def broadcast_owner(self, address: str) -> tuple[Link, LinkAddress] | None:
        """Return the device, with its address, whose subnet has this broadcast address; None if none has."""
        for link in self.links.values():
            for entry in link.addresses:
                has_broadcast = entry.prefix_length <= LONGEST_BROADCAST_PREFIX
                if has_broadcast and broadcast_address(entry.address, entry.prefix_length) == address:
                    return link, entry
        return None

    def is_local(self, address: str) -> bool:
        """Return whether an address belongs to the host, on any device and with any scope."""
        return is_loopback(address) or any(
            entry.address == address for link in self.links.values() for entry in link.addresses
        )
