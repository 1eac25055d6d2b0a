"""The path of an output: its source address and its egress socket, and the fault if the host cannot send.

The kernel decides how a unicast packet leaves the host. A packet to a group leaves by the device of its
output, whatever routes there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcrelay.config.model import Config, Output
from mcrelay.model.addresses import BROADCAST_UNSUPPORTED, LOOPBACK_DEVICE, UNSPECIFIED_ADDRESS, is_group
from mcrelay.model.links import AddressScope, Link, LinkState, LinkTable
from mcrelay.model.routes import HostRoute, NextHop, RouteAnswers, RouteKind, RouteQuery
from mcrelay.model.send_errors import PathFault
from mcrelay.model.state import Egress, Routing

_REFUSALS = {
    RouteKind.PROHIBIT: PathFault.PROHIBITED,
    RouteKind.UNREACHABLE: PathFault.UNREACHABLE,
    RouteKind.BLACKHOLE: PathFault.BLACKHOLE,
}


class Unresolved(Exception):
    """Raised if a rule or an output needs a device or an address that the host does not have at present."""


class Unsupported(Exception):
    """Raised if a rule or an output needs what mcrelay cannot do, whatever devices and addresses appear."""


@dataclass(frozen=True, slots=True)
class Path:
    """The socket of an output, and the fault because of which nothing can be sent, with its reason.

    The reason is empty if it is the state of the link, which the outputs of a rule share. A unicast output
    whose route leads through its device has a next hop.
    """

    egress: Egress
    fault: PathFault | None = None
    reason: str = ""
    hop: NextHop | None = None


def find_path(output: Output, link: Link, links: LinkTable, answers: RouteAnswers) -> Path:
    """Return the path of an output through `link`.

    Raises Unresolved if there is no address to send from, and Unsupported if the destination is broadcast.
    """
    refuse_broadcast(output.destination, links)
    if output.source is not None and not links.is_local(output.source):
        raise Unresolved(f"source {output.source} is not an address of this host")
    if is_group(output.destination):
        source = output.source or link.primary_address
        if source is None:
            raise Unresolved(_reason_no_address(link))
        # With `loopback`, the programs of this host hear the group without a carrier, too.
        vanishes = link.drops_silently and not output.loopback
        egress = Egress(link.ifindex, source, output.source_port, loopback=output.loopback)
        return Path(egress, PathFault.LINK_DOWN if vanishes else None)
    return _unicast_path(output, link, links, answers)


def refuse_broadcast(address: str, links: LinkTable) -> None:
    """Raise Unsupported if a subnet of this host has this broadcast address."""
    if is_group(address):  # by far the most frequent case, in a file of ten thousand rules
        return
    owner = links.broadcast_owner(address)
    if owner and not links.is_local(address):
        link, entry = owner
        subnet = f"{entry.address}/{entry.prefix_length}"
        raise Unsupported(
            f"{address} is the broadcast address of {link.device} ({subnet}), and {BROADCAST_UNSUPPORTED}"
        )


def route_queries(config: Config, links: LinkTable) -> set[RouteQuery]:
    """Return the questions about the routes of the unicast outputs, whose answers a plan needs."""
    return {_query(output, link) for output, link in _unicast_outputs(config, links)}


def next_hops(config: Config, links: LinkTable, answers: RouteAnswers) -> set[NextHop]:
    """Return the next hops of the unicast outputs, on devices that resolve addresses by ARP."""
    hops = set()
    for output, link in _unicast_outputs(config, links):
        route = answers.routes.get(_query(output, link))
        if (
            route
            and route.kind is RouteKind.UNICAST
            and route.ifindex == link.ifindex
            and link.has_neighbours
        ):
            hops.add(_next_hop(output, route))
    return hops


def _unicast_outputs(config: Config, links: LinkTable) -> Iterator[tuple[Output, Link]]:
    for rule in config.rules.values():
        for output in rule.outputs if rule.enabled else ():
            if not is_group(output.destination):
                link = links.get(config.interfaces[output.interface].device)
                if link is not None:
                    yield output, link


def _query(output: Output, link: Link) -> RouteQuery:
    vrf_ifindex = link.ifindex if link.is_in_vrf else 0
    return RouteQuery(output.destination, output.port, output.source, output.source_port, vrf_ifindex)


def _next_hop(output: Output, route: HostRoute) -> NextHop:
    return NextHop(route.ifindex, route.gateway or output.destination)


def _unicast_path(output: Output, link: Link, links: LinkTable, answers: RouteAnswers) -> Path:
    # Without an answer, as in a plan for another host, the destination is assumed to be a neighbour.
    query = _query(output, link)
    assumed = HostRoute(RouteKind.UNICAST, link.ifindex, None, output.source or link.primary_address)
    route = answers.routes.get(query, assumed)
    if route.kind is RouteKind.BROADCAST:
        raise Unsupported(f"{output.destination} is a broadcast address, and {BROADCAST_UNSUPPORTED}")
    fault, reason = _find_fault(output, route, link, links, answers)
    leads_here = fault in (None, PathFault.NO_NEIGHBOR)
    is_usable = leads_here or route.ifindex == link.ifindex
    source = output.source or (route.source if is_usable else link.primary_address)
    if source is None and leads_here:
        raise Unresolved(_reason_no_address(link))
    # A socket of an output that sends nothing is opened all the same, so that its port stays when the route
    # comes back.
    port = output.source_port if source else 0
    routing: Routing = "device" if link.is_in_vrf else "host"
    egress = Egress(link.ifindex, source or UNSPECIFIED_ADDRESS, port, routing)
    has_hop = leads_here and route.kind is RouteKind.UNICAST
    return Path(egress, fault, reason, _next_hop(output, route) if has_hop else None)


def _find_fault(
    output: Output, route: HostRoute, link: Link, links: LinkTable, answers: RouteAnswers
) -> tuple[PathFault | None, str]:
    """Return the fault of a path with its reason, or None and an empty text."""
    destination, device = output.destination, link.device
    if link.drops_silently:
        return PathFault.LINK_DOWN, ""
    packets = destination + (f" from {output.source}" if output.source else "")
    match route.kind:
        case RouteKind.NONE:
            if link.state is LinkState.DOWN:
                return PathFault.NO_ROUTE, f"there is no route to {packets} while {device} is down"
            if device == LOOPBACK_DEVICE:
                remedy = f"name the interface that leads to {destination}"
                return PathFault.NO_ROUTE, f"{device} leads to addresses of this host alone: {remedy}"
            # The kernel gives the same answer if a rule of type unreachable matches.
            remedy = f"add one, for example `ip route add {destination} dev {device}`, and see `ip rule`"
            return PathFault.NO_ROUTE, f"there is no route to {packets}: {remedy}"
        case RouteKind.PROHIBIT | RouteKind.UNREACHABLE | RouteKind.BLACKHOLE:
            reason = f"a route or rule of type {route.kind} refuses packets to {packets}"
            return _REFUSALS[route.kind], f"{reason}: see `ip rule` and `ip route show table all`"
        case RouteKind.LOCAL if device != LOOPBACK_DEVICE:
            here = f"{destination} is an address of this host, behind {LOOPBACK_DEVICE}"
            remedy = f"use an interface with `device: {LOOPBACK_DEVICE}`"
            return PathFault.OTHER_DEVICE, f"{here}: {remedy}"
    if route.ifindex != link.ifindex:
        away = f"the route to {packets} leads through {links.device_of(route.ifindex)}, not through {device}"
        remedy = f"correct `interface` or the route: see `ip route get {packets}`"
        return PathFault.OTHER_DEVICE, f"{away}: {remedy}"
    hop = _next_hop(output, route)
    if hop in answers.silent:
        return PathFault.NO_NEIGHBOR, _reason_silent(hop, output, device)
    return None, ""


def _reason_silent(hop: NextHop, output: Output, device: str) -> str:
    protocol = "neighbour discovery" if ":" in hop.address else "ARP"
    if hop.address == output.destination:
        return f"{hop.address} does not answer {protocol} on {device}: check the host and the cable"
    gateway = f"the gateway {hop.address} to {output.destination}"
    return f"{gateway} does not answer {protocol} on {device}: check the gateway, the cable, and the route"


def _reason_no_address(link: Link) -> str:
    reason = f"device {link.device} has no IPv4 address to send from"
    passed_over = [entry for entry in link.addresses if entry.scope > AddressScope.LINK]
    if passed_over:
        address = passed_over[0].address
        return f"{reason}, except for {address} of scope host: write `source: {address}` to use it"
    return reason
