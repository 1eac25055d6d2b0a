"""The network devices of the host, as netlink last reported them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from mcrelay.model.addresses import LOOPBACK_DEVICE, broadcast_address, is_loopback
from mcrelay.model.suggestions import did_you_mean

MAX_NAME_LENGTH = 15  # bytes (IFNAMSIZ of linux/if.h, without the final zero)
LONGEST_BROADCAST_PREFIX = 30  # two hosts, as of a tunnel (RFC 3021), need no broadcast address
LOOPBACK_IFINDEX = 1  # of the device lo in every network namespace (include/net/flow.h)


class AddressScope(IntEnum):
    """The scope of an address (ip-address(8)): a larger number is a smaller part of the network."""

    GLOBAL = 0
    SITE = 200
    LINK = 253
    HOST = 254


class LinkState(StrEnum):
    """Whether packets can pass a device: its operational state (RFC 2863), in the words of ip-link(8)."""

    UP = "up"
    DOWN = "down"
    """Switched off by the administrator."""
    NO_CARRIER = "no carrier"
    LOWER_LAYER_DOWN = "lower layer down"
    """The device stands on another one, which is not up: a VLAN, a macvlan."""
    NOT_PRESENT = "not present"
    DORMANT = "dormant"
    """The device waits for an event, such as the authentication of 802.1X; the kernel sends meanwhile."""
    TESTING = "testing"


_LINK_STATE_REASONS = {
    LinkState.DOWN: "is down",
    LinkState.NO_CARRIER: "has no carrier: check the cable or the peer",
    LinkState.LOWER_LAYER_DOWN: "has no carrier (lower layer down): check {0}",
    LinkState.NOT_PRESENT: "is not present: its hardware was removed or sleeps",
    LinkState.DORMANT: "is dormant: it waits, for example for the authentication of 802.1X",
    LinkState.TESTING: "is testing: its driver tests the hardware or the cable",
}


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
    whose master is a VRF (ip-vrf(8)), which has routes of its own. `lower_device` is the device of this host
    that a VLAN or a macvlan stands on, if any. `altnames` are further names (`ip link property add`).
    `ethernet_address` (`02:00:5e:00:53:01`) is None for a device whose frames are not Ethernet.
    """

    ifindex: int
    device: str
    mtu: int = 1500
    state: LinkState = LinkState.UP
    addresses: tuple[LinkAddress, ...] = ()
    has_neighbours: bool = True
    is_in_vrf: bool = False
    lower_device: str | None = None
    altnames: tuple[str, ...] = ()
    ethernet_address: str | None = None

    @property
    def has_carrier(self) -> bool:
        """Whether packets pass the device."""
        return self.state in (LinkState.UP, LinkState.DORMANT, LinkState.TESTING)

    @property
    def drops_silently(self) -> bool:
        """Whether the kernel drops packets without an error. A device that is down refuses them."""
        return not self.has_carrier and self.state is not LinkState.DOWN

    @property
    def reason_not_up(self) -> str:
        """Why the device is not up, with advice; an empty text if it is up."""
        if self.state is LinkState.UP:
            return ""
        lower = f"its lower device {self.lower_device}" if self.lower_device else "its lower device"
        return f"device {self.device} {_LINK_STATE_REASONS[self.state].format(lower)}"

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
    by_altname: Mapping[str, Link] = field(default_factory=dict)

    @classmethod
    def of(cls, links: Iterable[Link]) -> LinkTable:
        """Return the table of these devices."""
        links = tuple(links)
        by_altname = {altname: link for link in links for altname in link.altnames}
        return cls({link.device: link for link in links}, by_altname)

    def get(self, device: str) -> Link | None:
        """Return the device of this name or of this alternative name, or None if it is absent."""
        return self.links.get(device) or self.by_altname.get(device)

    def suggest_device(self, device: str) -> str:
        """Return the end of a message about an absent device: a device whose name has a typing error less.

        The number of a device is no typing error: eth1 may yet appear on a host that has eth0.
        """
        if len(device.encode()) > MAX_NAME_LENGTH:
            return ": a name of more than 15 bytes can only be an alternative name (`ip link property add`)"
        names = (name for table in (self.links, self.by_altname) for name in table)
        return did_you_mean(device, [name for name in names if _digits(name) == _digits(device)])

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


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))
