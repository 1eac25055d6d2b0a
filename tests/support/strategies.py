"""Hypothesis strategies for the values of the model: few of each kind, so that equal ones are frequent."""

from dataclasses import replace

from hypothesis import strategies as st

from mcrelay.model.actions import (
    Acquire,
    Close,
    DeleteFlow,
    Open,
    Release,
    SetFlow,
    StartWorker,
    StopWorker,
    exclusive_slot,
)
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.send_errors import PathFault
from mcrelay.model.state import (
    DesiredState,
    Egress,
    Flow,
    Ingress,
    MaxAge,
    Membership,
    PortReservation,
    Route,
    RouteOutput,
    RunningState,
    Trace,
    WorkerState,
)
from mcrelay.reconcile.placement import kernel_state
from mcrelay.reconcile.plan import Plan, supervisor_resource

GROUPS = ["239.1.1.1", "239.1.1.2"]
HOSTS = ["10.0.0.1", "10.0.0.2"]
FRAME_SIZES = [2048, 4096]
RULES = ["camera", "sensors", "feed"]

ifindexes = st.integers(1, 3)
destinations = st.sampled_from(GROUPS + HOSTS)
hosts = st.sampled_from(HOSTS)
ports = st.sampled_from([5001, 5002])
sources = st.none() | hosts
workers = st.integers(0, 1)

ingresses = st.builds(Ingress, ifindexes, st.sampled_from(FRAME_SIZES))
egresses = st.builds(
    Egress,
    ifindexes,
    hosts,
    st.sampled_from([0, 4000]),
    st.sampled_from(["link", "host", "device"]),
    st.booleans(),
)
flows = st.builds(Flow, ifindexes, destinations, ports, sources)
memberships = st.builds(Membership, ifindexes, st.sampled_from(GROUPS), sources)
reservations = st.builds(PortReservation, hosts, ports)
outputs = st.builds(
    RouteOutput,
    interface=st.sampled_from(["plant", "lab"]),
    egress=egresses,
    destination=destinations,
    port=ports,
    ttl=st.sampled_from([1, 64, "decrement"]),
    dscp=st.sampled_from([0, 34, "copy"]),
    fault=st.sampled_from([None, *PathFault]),
)
sendings = st.lists(outputs, min_size=1, max_size=3).map(tuple)
routes = st.builds(Route, st.sampled_from(RULES), sendings, st.booleans())
traces = st.builds(Trace, st.sampled_from(RULES), st.integers(1, 2))

max_ages = st.builds(MaxAge, st.sampled_from([10**7, 10**9]))

worker_resources = max_ages | ingresses | egresses | traces
supervisor_resources = memberships | reservations

worker_actions = (
    st.builds(Open, workers, worker_resources)
    | st.builds(Close, workers, worker_resources)
    | st.builds(SetFlow, workers, flows, routes)
    | st.builds(DeleteFlow, workers, flows)
)
actions = (
    worker_actions
    | st.builds(Acquire, supervisor_resources)
    | st.builds(Release, supervisor_resources)
    | st.builds(StartWorker, workers)
    | st.builds(StopWorker, workers)
)

# Any worker, whether or not it makes sense; a link has one ring.
worker_states = st.builds(
    WorkerState,
    resources=st.lists(worker_resources, max_size=6, unique_by=exclusive_slot).map(frozenset),
    flows=st.dictionaries(flows, routes, max_size=3),
)
running_states = st.builds(
    RunningState,
    workers=st.dictionaries(st.integers(0, 2), worker_states, max_size=3),
    resources=st.frozensets(supervisor_resources, max_size=4),
)
desired_states = st.builds(
    DesiredState,
    forwarding=worker_states,
    worker_count=st.integers(0, 3),
    resources=st.frozensets(supervisor_resources, max_size=4),
)


def running_as(desired):
    """Return the running state that has all of a desired state."""
    return RunningState(desired.states, desired.resources)


def with_kernel(state, rules):
    """Return a state of workers with these rules in the kernel instead."""
    flows = {flow: route for flow, route in state.forwarding.flows.items() if route.rule not in rules}
    moved = {flow: route for flow, route in state.forwarding.flows.items() if route.rule in rules}
    links = {flow.ifindex for flow in flows}
    sockets = {output.egress for route in flows.values() for output in route.outputs}
    rings = {ring for ring in state.forwarding.ingress if ring.ifindex in links}
    return replace(
        state,
        forwarding=WorkerState(frozenset(rings | sockets), flows),
        kernel=kernel_state(moved),
        spare_rings=state.forwarding.ingress,
    )


def planned(rules, frame_size=2048, count=1, in_kernel=()):
    """Return the plan of some rules, {name: (flows, outputs)}, with all that they need."""
    table = {flow: Route(name, tuple(sent)) for name, (taken, sent) in rules.items() for flow in taken}
    rings = {Ingress(flow.ifindex, frame_size) for flow in table}
    sockets = {output.egress for route in table.values() for output in route.outputs}
    forwarding = WorkerState(frozenset(rings | sockets), table)
    active = {route.rule: RuleStatus(RuleState.ACTIVE) for route in table.values()}
    state = DesiredState(forwarding, count, frozenset(map(supervisor_resource, table)))
    return Plan(with_kernel(state, in_kernel), active)


plans = st.builds(
    planned,
    st.dictionaries(st.sampled_from(RULES), st.tuples(st.lists(flows, min_size=1, max_size=2), sendings)),
    st.sampled_from(FRAME_SIZES),
    st.integers(1, 3),
    st.sets(st.sampled_from(RULES)),
)
