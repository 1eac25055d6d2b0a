"""The network devices of the host, as netlink last reported them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcrelay.model.addresses import is_loopback


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. `addresses` are its global IPv4 addresses, in the order of the kernel."""

    ifindex: int
    device: str
    mtu: int = 1500
    up: bool = True
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkTable:
    """All network devices by their names."""

    links: Mapping[str, Link] = field(default_factory=dict)

    def get(self, device: str) -> Link | None:
        """Return the device of this name, or None if it is absent."""
        return self.links.get(device)

    def is_local(self, address: str) -> bool:
        """Return whether an address belongs to the host, on any device."""
        return is_loopback(address) or any(address in link.addresses for link in self.links.values())
