"""The plan: the desired state, and the status of every rule, for a configuration and the links of a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

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
    WorkerState,
)
from mcrelay.packet.frame import frame_size
from mcrelay.reconcile.conflicts import Conflicts, find_conflicts
from mcrelay.reconcile.paths import Path, Unresolved, Unsupported, find_path, refuse_broadcast
from mcrelay.reconcile.reasons import explain_outputs

_NO_ANSWERS = RouteAnswers()


@dataclass(frozen=True, slots=True)
class Plan:
    """The desired state, and the status of every rule by its name."""

    state: DesiredState = field(default_factory=DesiredState)
    rules: Mapping[str, RuleStatus] = field(default_factory=dict)


def plan(
    config: Config,
    links: LinkTable,
    cpus: int,
    before: Plan | None = None,
    answers: RouteAnswers = _NO_ANSWERS,
) -> Plan:
    """Return the plan for a configuration on a host with these links and this number of CPUs.

    `answers` has the routes of the unicast outputs; an output without an answer is assumed to have one. An
    unchanged route is the same object as in `before`, so that ten thousand routes are compared quickly.
    """
    known: Mapping[Flow, Route] = before.state.forwarding.flows if before else {}
    flows: dict[Flow, Route] = {}
    statuses = {}
    conflicts = find_conflicts(config, links)
    for rule in config.rules.values():
        statuses[rule.name], routed = _plan_rule(rule, config, links, answers, conflicts)
        for flow, route in routed.items():
            flows[flow] = known[flow] if known.get(flow) == route else route
    mtus = {link.ifindex: link.mtu for link in links.links.values()}
    rings = (Ingress(ifindex, frame_size(mtus[ifindex])) for ifindex in {flow.ifindex for flow in flows})
    sockets = (output.egress for route in flows.values() for output in route.outputs)
    forwarding = WorkerState(frozenset((MaxAge(config.max_age), *rings, *sockets)), flows)
    workers = cpus if config.workers == "auto" else config.workers
    return Plan(DesiredState(forwarding, workers, frozenset(map(supervisor_resource, flows))), statuses)


def route_finder(
    links: LinkTable, answers: RouteAnswers = _NO_ANSWERS
) -> Callable[[Config, Rule], Route | None]:
    """Return a function that returns the route of a rule of a config on this host, or None if it has none.

    The configs must outlive the function.
    """
    conflicts: dict[int, Conflicts] = {}  # by the id of a config

    def find_route(config: Config, rule: Rule) -> Route | None:
        if id(config) not in conflicts:
            conflicts[id(config)] = find_conflicts(config, links)
        _, flows = _plan_rule(rule, config, links, answers, conflicts[id(config)])
        return next(iter(flows.values()), None)

    return find_route


def supervisor_resource(flow: Flow) -> SupervisorResource:
    """Return the resource that makes the packets of a flow arrive: a membership or a port reservation."""
    if is_group(flow.destination):
        return Membership(flow.ifindex, flow.destination, flow.source)
    return PortReservation(flow.destination, flow.port)


def _plan_rule(
    rule: Rule, config: Config, links: LinkTable, answers: RouteAnswers, conflicts: Conflicts
) -> tuple[RuleStatus, dict[Flow, Route]]:
    if not rule.enabled:
        return RuleStatus(RuleState.DISABLED, "`enabled: false` in the file"), {}
    try:
        flows = _flows(rule.input, config, links)
        _refuse(conflicts.inputs.get(rule.name))
    except Unresolved as error:
        return RuleStatus(RuleState.UNRESOLVED, f"input: {error}"), {}
    except Unsupported as error:
        return RuleStatus(RuleState.FAILED, f"input: {error}"), {}
    outputs, missing, unsupported, can_relay = [], [], 0, False
    for output in rule.outputs:
        try:
            link = _link(output.interface, config, links)
            path = find_path(output, link, links, answers)
            _refuse(conflicts.outputs.get((rule.name, output.name)))
        except (Unresolved, Unsupported) as error:
            missing.append((output.interface, str(error)))
            unsupported += isinstance(error, Unsupported)
            continue
        outputs.append(_route_output(output, path))
        if path.reason:
            missing.append((output.interface, path.reason))
        can_relay |= link.has_carrier and path.fault is None
    reasons = explain_outputs(missing, len(rule.outputs)), *_links_not_up(rule, config, links)
    if not outputs:
        state = RuleState.FAILED if unsupported == len(missing) else RuleState.UNRESOLVED
        return RuleStatus(state).with_reasons(*reasons), {}
    can_relay &= _link(rule.input.interface, config, links).has_carrier
    status = RuleStatus(RuleState.ACTIVE if can_relay else RuleState.UNRESOLVED).with_reasons(*reasons)
    return status, dict.fromkeys(flows, Route(rule.name, tuple(outputs), rule.input.loopback))


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
