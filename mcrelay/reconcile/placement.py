"""The placement of a rule: the data plane that relays its packets, and the reason for this data plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from mcrelay.config.model import Rule
from mcrelay.model.addresses import group_ethernet_address
from mcrelay.model.links import Link, LinkState
from mcrelay.model.routes import NextHop
from mcrelay.model.send_errors import PathFault
from mcrelay.model.state import Attachment, DesiredState, EthernetPath, Flow, Route, RouteOutput, WorkerState

MAX_KERNEL_OUTPUTS = 64  # of a rule in the kernel data plane


@dataclass(frozen=True, slots=True)
class Placement:
    """The data plane of a rule, and the reason for it; the reason is empty if the file asks for it."""

    is_kernel: bool = False
    reason: str = ""

    @property
    def data_plane(self) -> str:
        """The name of the data plane."""
        return "kernel" if self.is_kernel else "userspace"


USERSPACE = Placement()
KERNEL_PLACEMENT = Placement(is_kernel=True)


@dataclass(frozen=True, slots=True)
class KernelSupport:
    """Why the kernel data plane cannot be used: at all (empty if it can), and for single rules.

    `is_default` says whether `data_plane: auto` takes it.
    """

    missing: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    is_default: bool = True


NO_KERNEL = KernelSupport("there is no kernel data plane")


class KernelRefused(Exception):
    """Raised if the file asks for the kernel data plane, which cannot relay the rule."""


@dataclass(frozen=True, slots=True)
class Leg:
    """An output of a route, with its device, and its next hop if it is unicast and a route leads to it."""

    output: RouteOutput
    link: Link
    hop: NextHop | None = None


def place_rule(
    rule: Rule,
    entry: Link,
    legs: Sequence[Leg],
    addresses: Mapping[NextHop, str],
    kernel: KernelSupport,
) -> tuple[Placement, Route]:
    """Return the placement of a rule, and its route in that data plane.

    `entry` is the device of the input, and `addresses` has the Ethernet addresses of next hops. Raises
    KernelRefused if the file asks for the kernel, which cannot relay the rule.
    """
    route = Route(rule.name, tuple(leg.output for leg in legs), rule.input.loopback)
    if not may_use_kernel(rule, kernel.is_default):
        return USERSPACE, route
    obstacle = kernel.missing or next(_obstacles(rule, entry, legs), "") or kernel.refused.get(rule.name, "")
    if obstacle:
        if rule.exclusive:
            raise KernelRefused(f"`exclusive: true` needs the kernel data plane: {obstacle}")
        if rule.data_plane == "kernel":
            raise KernelRefused(f"`data_plane: kernel`: {obstacle}")
        return Placement(reason=obstacle), route
    # Until its next hop is known, a rule is in the workers, whatever the file says, so that nothing is lost.
    unknown = [leg.hop for leg in legs if leg.hop and leg.hop not in addresses]
    if unknown:
        return Placement(reason=f"the Ethernet address of {unknown[0].address} is not known yet"), route
    outputs = tuple(_with_path(leg, addresses) for leg in legs)
    return KERNEL_PLACEMENT, Route(rule.name, outputs, exclusive=rule.exclusive)


def may_use_kernel(rule: Rule, is_default: bool) -> bool:
    """Return whether the file lets the kernel relay a rule; `is_default` is that of `KernelSupport`."""
    return rule.exclusive or rule.data_plane == "kernel" or (is_default and rule.data_plane == "auto")


def placement_without_route(rule: Rule) -> Placement:
    """Return the placement to show of a rule that has no route: the one that the file asks for."""
    return KERNEL_PLACEMENT if rule.wanted_data_plane == "kernel" else USERSPACE


def _obstacles(rule: Rule, entry: Link, legs: Sequence[Leg]) -> Iterator[str]:
    """Yield the reasons why the kernel data plane cannot relay a rule, whatever the neighbours say."""
    if len(legs) > MAX_KERNEL_OUTPUTS:
        yield f"{len(legs)} outputs are more than the {MAX_KERNEL_OUTPUTS} of a rule in the kernel"
    if rule.input.loopback or any(leg.output.egress.loopback for leg in legs):
        yield "`loopback` needs the workers"
    for link in (entry, *(leg.link for leg in legs)):
        if link.ethernet_address is None:
            yield f"{link.device} is not an Ethernet device"
    for leg in legs:
        if leg.link.mtu < entry.mtu:
            sizes = f"MTU {entry.mtu} of {entry.device}, {leg.link.mtu} of {leg.link.device}"
            yield f"its packets may have to be fragmented ({sizes})"


def _with_path(leg: Leg, addresses: Mapping[NextHop, str]) -> RouteOutput:
    output, source = leg.output, leg.link.ethernet_address
    if output.fault is None and leg.link.state is LinkState.DOWN:
        # A socket refuses to send (ENETDOWN). The program would learn only that no queue took the packet.
        return replace(output, fault=PathFault.LINK_DOWN)
    if output.fault is not None or source is None:
        return output
    destination = addresses[leg.hop] if leg.hop else group_ethernet_address(output.destination)
    return replace(output, path=EthernetPath(source, destination, leg.link.mtu))


def move_to_workers(state: DesiredState, rules: Set[str]) -> DesiredState:
    """Return `state` with these rules in the workers instead of in the kernel."""
    moved = {flow: route for flow, route in state.kernel.flows.items() if route.rule in rules}
    if not moved:
        return state
    routes = {id(route): _without_paths(route) for route in moved.values()}
    flows = {flow: routes[id(route)] for flow, route in moved.items()}
    links = {flow.ifindex for flow in flows}
    rings = {ring for ring in state.spare_rings if ring.ifindex in links}
    forwarding = WorkerState(
        state.forwarding.resources | rings | state.egress, {**state.forwarding.flows, **flows}
    )
    return replace(state, forwarding=forwarding, kernel=kernel_state(_without_rules(state.kernel, rules)))


def kernel_state(flows: Mapping[Flow, Route]) -> WorkerState:
    """Return the state of the kernel data plane with these flows, and the attachments that they need."""
    return WorkerState(frozenset(Attachment(ifindex) for ifindex in {flow.ifindex for flow in flows}), flows)


def _without_rules(state: WorkerState, rules: Set[str]) -> dict[Flow, Route]:
    return {flow: route for flow, route in state.flows.items() if route.rule not in rules}


def _without_paths(route: Route) -> Route:
    outputs = tuple(replace(output, path=None) for output in route.outputs)
    return replace(route, outputs=outputs, exclusive=False)
