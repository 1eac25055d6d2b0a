"""How the host itself sends a datagram: its route and its next hop, as the kernel last reported them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto


class RouteKind(StrEnum):
    """A type of route (ip-route(8)). `NONE` means that no route matches."""

    UNICAST = "unicast"
    LOCAL = "local"
    BROADCAST = "broadcast"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RouteQuery:
    """A UDP datagram whose route is wanted.

    If `source` is None, the kernel chooses it. A `source_port` of 0 is unknown. `ifindex` is a device in a
    VRF, whose routes the kernel then uses, or 0 for the routes of the host.
    """

    destination: str
    port: int
    source: str | None = None
    source_port: int = 0
    ifindex: int = 0


@dataclass(frozen=True, slots=True)
class HostRoute:
    """The kernel's answer to a query: the device and the source of the datagram, and the gateway, if any.

    Only a route of kind UNICAST, LOCAL or BROADCAST has a device and a source.
    """

    kind: RouteKind
    ifindex: int = 0
    gateway: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class NextHop:
    """A neighbour on a link: the gateway of a route, or the destination itself."""

    ifindex: int
    address: str


class NeighbourState(Enum):
    """What the kernel knows about the hardware address of a next hop (ip-neighbour(8))."""

    KNOWN = auto()
    """The address is known, or the device needs none."""
    STALE = auto()
    """The address is known, and has not been confirmed for a while. The kernel asks again once it is used."""
    RESOLVING = auto()
    """The kernel asks for the address, and keeps the first packets meanwhile."""
    FAILED = auto()
    """Nobody has answered."""
    ABSENT = auto()
    """The kernel has no entry."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The state of a next hop, and its Ethernet address (`02:00:5e:00:53:01`) if that is known."""

    state: NeighbourState
    ethernet_address: str | None = None


@dataclass(frozen=True, slots=True)
class RouteAnswers:
    """The routes of the outputs' datagrams, the next hops that do not answer ARP, and those whose address is
    known, with this address (`02:00:5e:00:53:01`).
    """

    routes: Mapping[RouteQuery, HostRoute] = field(default_factory=dict)
    silent: frozenset[NextHop] = frozenset()
    addresses: Mapping[NextHop, str] = field(default_factory=dict)
