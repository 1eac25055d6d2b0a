"""The plan: the desired state, and the status of every rule, for a configuration and the links of a host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mcrelay.config.model import Config, Input, Output, Rule
from mcrelay.model.addresses import is_group
from mcrelay.model.links import Link, LinkTable
from mcrelay.model.routes import RouteAnswers
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import (
    DesiredState,
    Flow,
    Ingress,
    MaxAge,
    Membership,
    PortReservation,
    Route,
    RouteOutput,
    SupervisorResource,
    WorkerResource,
    WorkerState,
)
from mcrelay.packet.frame import frame_size
from mcrelay.reconcile.conflicts import Conflicts, find_conflicts
from mcrelay.reconcile.paths import Path, Unresolved, Unsupported, find_path, refuse_broadcast
from mcrelay.reconcile.placement import (
    NO_KERNEL,
    USERSPACE,
    KernelRefused,
    KernelSupport,
    Leg,
    Placement,
    kernel_state,
    place_rule,
)
from mcrelay.reconcile.reasons import explain_outputs

_NO_ANSWERS = RouteAnswers()


@dataclass(frozen=True, slots=True)
class Plan:
    """The desired state, and the status and the placement of rules by their names."""

    state: DesiredState = field(default_factory=DesiredState)
    rules: Mapping[str, RuleStatus] = field(default_factory=dict)
    placements: Mapping[str, Placement] = field(default_factory=dict)
    """The data plane of each rule that has a route."""


def plan(
    config: Config,
    links: LinkTable,
    cpus: int,
    before: Plan | None = None,
    answers: RouteAnswers = _NO_ANSWERS,
    kernel: KernelSupport = NO_KERNEL,
) -> Plan:
    """Return the plan for a configuration on a host with these links and this number of CPUs.

    `answers` has the routes of the unicast outputs; an output without an answer is assumed to have one. An
    unchanged route is the same object as in `before`, so that ten thousand routes are compared quickly.
    """
    known: Mapping[Flow, Route] = before.state.flows if before else {}
    flows: tuple[dict[Flow, Route], dict[Flow, Route]] = ({}, {})
    statuses, placements = {}, {}
    host = _Host(links, answers, find_conflicts(config, links), kernel)
    for rule in config.rules.values():
        planned = _plan_rule(rule, config, host)
        statuses[rule.name] = planned.status
        if planned.flows:
            placements[rule.name] = planned.placement
        for flow, route in planned.flows.items():
            kept = known[flow] if known.get(flow) == route else route
            flows[planned.placement.is_kernel][flow] = kept
    in_workers, in_kernel = flows
    sockets = {output.egress for route in in_workers.values() for output in route.outputs}
    # Workers know the relay's own packets by the sockets that they have. What comes back to the port of a
    # unicast output is counted by a worker, also where the kernel sends.
    sockets |= {
        output.egress
        for route in in_kernel.values()
        for output in route.outputs
        if in_workers or not is_group(output.destination)
    }
    resources: frozenset[WorkerResource] = frozenset(
        (MaxAge(config.max_age), *_rings(in_workers, links), *sockets)
    )
    state = DesiredState(
        WorkerState(resources, in_workers),
        worker_count=cpus if config.workers == "auto" else config.workers,
        resources=frozenset(map(supervisor_resource, (*in_workers, *in_kernel))),
        kernel=kernel_state(in_kernel),
        spare_rings=frozenset(_rings(in_kernel, links)),
    )
    return Plan(state, statuses, placements)


def _rings(flows: Iterable[Flow], links: LinkTable) -> Iterator[Ingress]:
    """Yield a ring for each link of these flows."""
    ifindexes = {flow.ifindex for flow in flows}
    for link in links.links.values():
        if link.ifindex in ifindexes:
            yield Ingress(link.ifindex, frame_size(link.mtu))


def route_finder(
    links: LinkTable, answers: RouteAnswers = _NO_ANSWERS
) -> Callable[[Config, Rule], Route | None]:
    """Return a function that returns the route of a rule of a config on this host, or None if it has none.

    The route is one for workers, also of a rule for the kernel data plane. The configs must outlive the
    function.
    """
    hosts: dict[int, _Host] = {}  # by the id of a config

    def find_route(config: Config, rule: Rule) -> Route | None:
        if id(config) not in hosts:
            hosts[id(config)] = _Host(links, answers, find_conflicts(config, links), NO_KERNEL)
        for_workers = replace(rule, data_plane="userspace", exclusive=False)
        return next(iter(_plan_rule(for_workers, config, hosts[id(config)]).flows.values()), None)

    return find_route


def supervisor_resource(flow: Flow) -> SupervisorResource:
    """Return the resource that makes the packets of a flow arrive: a membership or a port reservation."""
    if is_group(flow.destination):
        return Membership(flow.ifindex, flow.destination, flow.source)
    return PortReservation(flow.destination, flow.port)


@dataclass(frozen=True, slots=True)
class _Host:
    """What a plan of a config knows about the host."""

    links: LinkTable
    answers: RouteAnswers
    conflicts: Conflicts
    kernel: KernelSupport


@dataclass(frozen=True, slots=True)
class _PlannedRule:
    status: RuleStatus
    flows: Mapping[Flow, Route] = field(default_factory=dict)
    placement: Placement = USERSPACE


def _plan_rule(rule: Rule, config: Config, host: _Host) -> _PlannedRule:
    links = host.links
    if not rule.enabled:
        return _PlannedRule(RuleStatus(RuleState.DISABLED, "`enabled: false` in the file"))
    try:
        flows = _flows(rule.input, config, links)
        _refuse(host.conflicts.inputs.get(rule.name))
    except Unresolved as error:
        return _PlannedRule(RuleStatus(RuleState.UNRESOLVED, f"input: {error}"))
    except Unsupported as error:
        return _PlannedRule(RuleStatus(RuleState.FAILED, f"input: {error}"))
    legs, missing, unsupported, can_relay = [], [], 0, False
    for output in rule.outputs:
        try:
            link = _link(output.interface, config, links)
            path = find_path(output, link, links, host.answers)
            _refuse(host.conflicts.outputs.get((rule.name, output.name)))
        except (Unresolved, Unsupported) as error:
            missing.append((output.interface, str(error)))
            unsupported += isinstance(error, Unsupported)
            continue
        legs.append(Leg(_route_output(output, path), link, path.hop))
        if path.reason:
            missing.append((output.interface, path.reason))
        can_relay |= link.has_carrier and path.fault is None
    reasons = explain_outputs(missing, len(rule.outputs)), *_links_not_up(rule, config, links)
    if not legs:
        state = RuleState.FAILED if unsupported == len(missing) else RuleState.UNRESOLVED
        return _PlannedRule(RuleStatus(state).with_reasons(*reasons))
    entry = _link(rule.input.interface, config, links)
    try:
        placement, route = place_rule(rule, entry, legs, host.answers.addresses, host.kernel)
    except KernelRefused as error:
        return _PlannedRule(RuleStatus(RuleState.FAILED).with_reasons(str(error), *reasons))
    can_relay &= entry.has_carrier
    status = RuleStatus(RuleState.ACTIVE if can_relay else RuleState.UNRESOLVED).with_reasons(*reasons)
    return _PlannedRule(status, dict.fromkeys(flows, route), placement)


def _refuse(conflict: str | None) -> None:
    """Raise Unsupported if an input or an output conflicts with another one."""
    if conflict:
        raise Unsupported(conflict)


def _links_not_up(rule: Rule, config: Config, links: LinkTable) -> Iterator[str]:
    """Yield a reason for each device of a rule that is present but not up."""
    devices = dict.fromkeys(config.interfaces[name].device for name in rule.interfaces)
    present = dict.fromkeys(link for device in devices if (link := links.get(device)))
    return filter(None, (link.reason_not_up for link in present))


def _flows(wanted: Input, config: Config, links: LinkTable) -> list[Flow]:
    link = _link(wanted.interface, config, links)
    refuse_broadcast(wanted.destination, links)
    if not is_group(wanted.destination) and not links.is_local(wanted.destination):
        raise Unresolved(f"{wanted.destination} is not an address of this host")
    sources = wanted.sources or (None,)
    return [Flow(link.ifindex, wanted.destination, wanted.port, source) for source in sources]


def _route_output(wanted: Output, path: Path) -> RouteOutput:
    return RouteOutput(
        interface=wanted.interface,
        egress=path.egress,
        destination=wanted.destination,
        port=wanted.port,
        ttl=wanted.ttl,
        dscp=wanted.dscp,
        fault=path.fault,
    )


def _link(interface: str, config: Config, links: LinkTable) -> Link:
    device = config.interfaces[interface].device
    link = links.get(device)
    if link is None:
        raise Unresolved(f"device {device} is absent{links.suggest_device(device)}")
    return link
