"""The vocabulary of the supervisor and the workers: resources, flows, routes, and the states made of them.

Addresses are dotted quads, ports are numbers, and a link is known by its index (`ifindex`). Values are
frozen, so that states can be compared and shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mcrelay.model.outputs import Dscp, Ttl, output_name
from mcrelay.model.send_errors import PathFault

Routing = Literal["link", "device", "host"]
"""How the kernel routes what an egress socket sends.

"link": out of the device, to the destination itself, whatever routes the host has (groups). "device": out of
the device, by the routes through it (a VRF). "host": as the host routes (unicast).
"""


RETURN_WORKER = 0
"""The number of the worker that counts what comes back to the ports of the egress sockets."""

KERNEL = -1
"""The number under which the kernel data plane has a state and gets actions, as workers do under theirs."""


@dataclass(frozen=True, slots=True, order=True)
class Membership:
    """Membership in a group on a link, for one source (RFC 4607) or, if `source` is None, for any source."""

    ifindex: int
    group: str
    source: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class PortReservation:
    """A UDP port that the supervisor binds, so that the host sends no ICMP errors for a unicast input."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, order=True)
class Ingress:
    """A packet ring on a link, with frames of `frame_size` bytes (a power of two)."""

    ifindex: int
    frame_size: int


@dataclass(frozen=True, slots=True, order=True)
class Egress:
    """A UDP socket that sends. If `source_port` is 0, the kernel chooses a port, once for each supervisor.

    With `loopback`, programs of this host hear the groups to which it sends (IP_MULTICAST_LOOP of ip(7)).
    """

    ifindex: int
    source: str
    source_port: int = 0
    routing: Routing = "link"
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class Flow:
    """The lookup key of a packet; a `source` of None matches any source."""

    ifindex: int
    destination: str
    port: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class EthernetPath:
    """How the kernel data plane sends to an output: the addresses of frames, and the MTU of the device."""

    source: str
    destination: str
    mtu: int


@dataclass(frozen=True, slots=True)
class RouteOutput:
    """An output of a route: one new datagram for each packet of a flow, or none while it has a `fault`."""

    interface: str
    egress: Egress
    destination: str
    port: int
    ttl: Ttl
    dscp: Dscp
    fault: PathFault | None = None
    """The reason why nothing is sent to this output, under which its packets are counted as dropped."""
    path: EthernetPath | None = None
    """Only in the kernel data plane, and only if packets are sent."""

    @property
    def source(self) -> str | None:
        """The address that packets are sent from; None while the host has no route that decides on it."""
        return self.egress.source if self.fault in (None, PathFault.NO_NEIGHBOR) else None

    @property
    def name(self) -> str:
        """The name of this output within its rule."""
        return output_name(self.interface, self.destination, self.port)


@dataclass(frozen=True, slots=True)
class Route:
    """The rule that a flow belongs to, and the outputs that its packets are sent to.

    With `loopback`, packets that this host sends through the device of the flow are relayed, too. With
    `exclusive`, which only the kernel data plane knows, the host itself does not get the packets.
    """

    rule: str
    outputs: tuple[RouteOutput, ...]
    loopback: bool = False
    exclusive: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Trace:
    """A trace of the packets of a rule; each trace of the rule has a new number."""

    rule: str
    number: int


@dataclass(frozen=True, slots=True, order=True)
class Attachment:
    """The program of the kernel data plane at the ingress of a link."""

    ifindex: int


@dataclass(frozen=True, slots=True, order=True)
class MaxAge:
    """The greatest age, in nanoseconds, at which a worker still relays a packet."""

    nanoseconds: int


WorkerResource = MaxAge | Ingress | Egress | Trace | Attachment
"""A resource that a worker opens and closes. A new kind must be added to the order in `reconcile.diff`.

An attachment is the only resource of the kernel data plane, and no worker has one.
"""

SupervisorResource = PortReservation | Membership
"""A resource that the supervisor itself acquires and releases; it outlives the workers."""

Resource = WorkerResource | SupervisorResource


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The open resources of a worker or of the kernel data plane, and the flows that it forwards."""

    resources: frozenset[WorkerResource] = frozenset()
    flows: Mapping[Flow, Route] = field(default_factory=dict)

    @property
    def ingress(self) -> frozenset[Ingress]:
        """The rings, one for each link."""
        return frozenset(item for item in self.resources if isinstance(item, Ingress))

    @property
    def egress(self) -> frozenset[Egress]:
        """The sockets that send."""
        return frozenset(item for item in self.resources if isinstance(item, Egress))

    @property
    def traces(self) -> frozenset[Trace]:
        """The open traces."""
        return frozenset(item for item in self.resources if isinstance(item, Trace))

    def routes_by_rule(self) -> dict[str, Route]:
        """Return the route of each rule that is forwarded; the flows of a rule share one route."""
        return {route.rule: route for route in self.flows.values()}


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The state to reach: workers that all forward the same flows, the flows that the kernel forwards, and
    the resources of the supervisor.

    `worker_count` is the number of workers if there is something for them to do. With `keeps_workers` they
    also run while all that they need has failed, and is to be tried again; `keeps_kernel` is the same for the
    kernel data plane.
    `spare_rings` are the rings that workers need for flows that move to them from the kernel.
    """

    forwarding: WorkerState = field(default_factory=WorkerState)
    worker_count: int = 0
    resources: frozenset[SupervisorResource] = frozenset()
    kernel: WorkerState = field(default_factory=WorkerState)
    spare_rings: frozenset[Ingress] = frozenset()
    keeps_workers: bool = False
    keeps_kernel: bool = False

    @property
    def workers(self) -> range:
        """The numbers of the workers: none while there is nothing for them to do."""
        has_work = any(not isinstance(resource, MaxAge) for resource in self.forwarding.resources)
        return range(self.worker_count if has_work or self.forwarding.flows or self.keeps_workers else 0)

    @property
    def states(self) -> dict[int, WorkerState]:
        """The desired state of each worker by its number, and of the kernel under KERNEL if it forwards."""
        states = dict.fromkeys(self.workers, self.forwarding)
        return {KERNEL: self.kernel, **states} if self.kernel.flows or self.keeps_kernel else states

    @property
    def flows(self) -> dict[Flow, Route]:
        """The flows of both data planes."""
        return {**self.forwarding.flows, **self.kernel.flows}

    @property
    def egress(self) -> frozenset[Egress]:
        """The sockets of all outputs; where the kernel sends, a socket only keeps the source port."""
        outputs = (output for route in self.kernel.flows.values() for output in route.outputs)
        return self.forwarding.egress.union(output.egress for output in outputs)

    @property
    def ifindexes(self) -> frozenset[int]:
        """The links whose packets are read, by a ring or by the program of the kernel data plane."""
        readers = (*self.forwarding.ingress, *self.kernel.resources)
        return frozenset(item.ifindex for item in readers if isinstance(item, Ingress | Attachment))

    def routes_by_rule(self) -> dict[str, Route]:
        """Return the route of each rule that is forwarded, in either data plane."""
        return self.forwarding.routes_by_rule() | self.kernel.routes_by_rule()

    @property
    def memberships(self) -> frozenset[Membership]:
        """The groups to join."""
        return frozenset(item for item in self.resources if isinstance(item, Membership))

    @property
    def reservations(self) -> frozenset[PortReservation]:
        """The UDP ports to reserve."""
        return frozenset(item for item in self.resources if isinstance(item, PortReservation))


@dataclass(frozen=True, slots=True)
class RunningState:
    """The reached state: the confirmed state of each worker by its number, and the acquired resources.

    The states of workers differ while a worker starts, and after a worker has refused an action. What the
    kernel forwards stands under KERNEL.
    """

    workers: Mapping[int, WorkerState] = field(default_factory=dict)
    resources: frozenset[SupervisorResource] = frozenset()

    @property
    def memberships(self) -> frozenset[Membership]:
        """The groups that the supervisor has joined."""
        return frozenset(item for item in self.resources if isinstance(item, Membership))
