"""The devices of this host, as netlink last told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcrelay.model.addresses import is_loopback


@dataclass(frozen=True, slots=True)
class Link:
    """One device. `addresses` are its global IPv4 addresses, dotted quads, in the kernel's order."""

    ifindex: int
    device: str
    mtu: int = 1500
    up: bool = True
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkTable:
    """All devices by name."""

    links: Mapping[str, Link] = field(default_factory=dict)

    def get(self, device: str) -> Link | None:
        """Return the device of that name, or None where there is none."""
        return self.links.get(device)

    def is_local(self, address: str) -> bool:
        """Tell whether the host owns `address`, on whatever device."""
        return is_loopback(address) or any(address in link.addresses for link in self.links.values())
