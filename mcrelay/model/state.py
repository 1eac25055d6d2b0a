"""The vocabulary of the supervisor and the workers: resources, flows, routes, and the states made of them.

Addresses are dotted quads, ports are numbers, and a link is known by its index (`ifindex`). Values are
frozen, so that states can be compared and shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mcrelay.model.addresses import format_endpoint

Ttl = int | Literal["decrement"]
"""1 to 255, or one less than that of the packet."""

Dscp = int | Literal["copy"]
"""0 to 63, or that of the packet."""


@dataclass(frozen=True, slots=True, order=True)
class Membership:
    """Membership in a group on a link, for any source or, source-specifically, for one (RFC 4607)."""

    ifindex: int
    group: str
    source: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class PortReservation:
    """A local UDP port that the relay reserves, so that the host sends no ICMP errors for a unicast input."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, order=True)
class Ingress:
    """A packet ring on a link, with frames of `frame_size` bytes (a power of two)."""

    ifindex: int
    frame_size: int


@dataclass(frozen=True, slots=True, order=True)
class Egress:
    """A UDP socket to send from. For port 0 the kernel chooses a port, once for each supervisor."""

    ifindex: int
    source: str
    source_port: int = 0


@dataclass(frozen=True, slots=True)
class Flow:
    """The key by which a packet is looked up; a `source` of None stands for any source."""

    ifindex: int
    destination: str
    port: int
    source: str | None = None


def output_name(interface: str, destination: str, port: int) -> str:
    """Return the name of an output among those of its rule; it does not depend on TTL, DSCP or source."""
    return f"{interface}:{format_endpoint(destination, port)}"


@dataclass(frozen=True, slots=True)
class RouteOutput:
    """An output of a route: one new datagram for each packet of a flow."""

    interface: str
    egress: Egress
    destination: str
    port: int
    ttl: Ttl
    dscp: Dscp

    @property
    def name(self) -> str:
        """The name of this output among those of its rule."""
        return output_name(self.interface, self.destination, self.port)


@dataclass(frozen=True, slots=True)
class Route:
    """The rule to which a flow belongs, and the outputs to which its packets go."""

    rule: str
    outputs: tuple[RouteOutput, ...]


@dataclass(frozen=True, slots=True, order=True)
class Trace:
    """A trace of the packets of a rule; its number is new each time the rule is traced."""

    rule: str
    number: int


WorkerResource = Ingress | Egress | Trace
"""What a worker opens and closes. A new kind also needs its place in the order of `reconcile.diff`."""

SupervisorResource = PortReservation | Membership
"""What the supervisor itself acquires and releases; a worker's death does not touch it."""

Resource = WorkerResource | SupervisorResource


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker has open, and what it forwards."""

    resources: frozenset[WorkerResource] = frozenset()
    flows: Mapping[Flow, Route] = field(default_factory=dict)

    @property
    def ingress(self) -> frozenset[Ingress]:
        """The rings, one for each link."""
        return frozenset(one for one in self.resources if isinstance(one, Ingress))

    @property
    def egress(self) -> frozenset[Egress]:
        """The sockets to send from."""
        return frozenset(one for one in self.resources if isinstance(one, Egress))

    @property
    def traces(self) -> frozenset[Trace]:
        """The traces that are written."""
        return frozenset(one for one in self.resources if isinstance(one, Trace))

    def routes_by_rule(self) -> dict[str, Route]:
        """Return the route of each rule that is forwarded; the flows of a rule share one route."""
        return {route.rule: route for route in self.flows.values()}


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What should run: some workers that all forward the same, and what the supervisor acquires for them."""

    forwarding: WorkerState = field(default_factory=WorkerState)
    worker_count: int = 0
    resources: frozenset[SupervisorResource] = frozenset()

    @property
    def workers(self) -> range:
        """The numbers of the workers."""
        return range(self.worker_count)

    @property
    def memberships(self) -> frozenset[Membership]:
        """The groups to join."""
        return frozenset(one for one in self.resources if isinstance(one, Membership))

    @property
    def reservations(self) -> frozenset[PortReservation]:
        """The UDP ports to reserve."""
        return frozenset(one for one in self.resources if isinstance(one, PortReservation))


@dataclass(frozen=True, slots=True)
class RunningState:
    """What runs: what each worker has confirmed, by its number, and what the supervisor has acquired.

    Workers differ while they start, and after one has refused what another has done.
    """

    workers: Mapping[int, WorkerState] = field(default_factory=dict)
    resources: frozenset[SupervisorResource] = frozenset()

    @property
    def memberships(self) -> frozenset[Membership]:
        """The groups that the host has joined for the relay."""
        return frozenset(one for one in self.resources if isinstance(one, Membership))
