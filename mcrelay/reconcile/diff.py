"""The difference between two states, as the shortest list of actions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from mcrelay.model.actions import (
    Acquire,
    Action,
    Close,
    DeleteFlow,
    Open,
    Release,
    SetFlow,
    StartWorker,
    StopWorker,
    exclusive_slot,
)
from mcrelay.model.state import (
    KERNEL,
    Attachment,
    DesiredState,
    Egress,
    Flow,
    Ingress,
    MaxAge,
    Membership,
    PortReservation,
    Resource,
    Route,
    RunningState,
    Trace,
    WorkerResource,
    WorkerState,
)

# Each kind needs the kinds before it: a flow its ring and its sockets, a trace the flows of its rule.
_KINDS = (MaxAge, Attachment, Ingress, Egress, Flow, Trace, PortReservation, Membership)
_ORDER = {kind: position for position, kind in enumerate(_KINDS)}

_Some = TypeVar("_Some", bound=Resource)


def diff(running: RunningState, desired: DesiredState) -> list[Action]:
    """Return the actions that turn `running` into `desired`, additions before removals.

    An addition follows the additions that it needs: a flow follows its ring and its sockets, and a membership
    follows the flows, so that the first packet of the group finds its route. Removals are in the opposite
    order. A flow that moves to the other data plane is removed once that one forwards it.
    """
    additions: list[Action] = []
    removals: list[Action] = []
    states = desired.states
    for worker, wanted in states.items():
        have = running.workers.get(worker)
        if have is None:
            additions.append(StartWorker(worker))
            have = WorkerState()
        if have is not wanted:
            additions += _additions(worker, have, wanted)
            removals += _removals(worker, have, _with_moving(worker, have, wanted, running, desired))
    additions += [Acquire(resource) for resource in _sorted(desired.resources - running.resources)]
    releases = [Release(resource) for resource in _sorted(running.resources - desired.resources)[::-1]]
    for worker, have in running.workers.items():
        if worker not in states and not _moving(worker, have, running, desired):
            removals.append(StopWorker(worker))
    return [*additions, *releases, *removals]


def _additions(worker: int, have: WorkerState, wanted: WorkerState) -> list[Action]:
    opened = _sorted(wanted.resources - have.resources)
    return [
        *(Open(worker, resource) for resource in opened if _ORDER[type(resource)] < _ORDER[Flow]),
        *(
            SetFlow(worker, flow, route)
            for flow, route in wanted.flows.items()
            # Unchanged routes are mostly the same objects, and identity is faster to compare than equality.
            if (before := have.flows.get(flow)) is not route and before != route
        ),
        *(Open(worker, resource) for resource in opened if _ORDER[type(resource)] > _ORDER[Flow]),
    ]


def _removals(worker: int, have: WorkerState, wanted: WorkerState) -> list[Action]:
    # A resource that another one replaces, such as a ring of another size on its link, is not closed.
    taken = {exclusive_slot(resource) for resource in wanted.resources}
    closed = _sorted(
        resource for resource in have.resources - wanted.resources if exclusive_slot(resource) not in taken
    )[::-1]
    return [
        *(Close(worker, resource) for resource in closed if _ORDER[type(resource)] > _ORDER[Flow]),
        *(DeleteFlow(worker, flow) for flow in have.flows if flow not in wanted.flows),
        *(Close(worker, resource) for resource in closed if _ORDER[type(resource)] < _ORDER[Flow]),
    ]


def _with_moving(
    worker: int, have: WorkerState, wanted: WorkerState, running: RunningState, desired: DesiredState
) -> WorkerState:
    """Return `wanted` with the flows that the other data plane has yet to take, and what they need."""
    moving = _moving(worker, have, running, desired)
    if not moving:
        return wanted
    needed: set[WorkerResource] = set()
    for flow, route in moving.items():
        needed.update(output.egress for output in route.outputs)
        needed.update(ring for ring in have.ingress if ring.ifindex == flow.ifindex)
        needed.add(Attachment(flow.ifindex))
    return WorkerState(wanted.resources | (needed & have.resources), {**moving, **wanted.flows})


def _moving(
    worker: int, have: WorkerState, running: RunningState, desired: DesiredState
) -> dict[Flow, Route]:
    """Return the flows that the other data plane is to forward, and does not forward yet."""
    if worker == KERNEL:
        takers, wanted = desired.workers, desired.forwarding.flows
    else:
        takers, wanted = range(KERNEL, KERNEL + 1), desired.kernel.flows
    if not wanted:
        return {}
    taking = [running.workers[taker].flows if taker in running.workers else {} for taker in takers]
    return {
        flow: route
        for flow, route in have.flows.items()
        if flow in wanted and not all(flow in flows for flows in taking)
    }


def _sorted(resources: Iterable[_Some]) -> list[_Some]:
    """Return resources in the order in which they are opened; equal sets are sorted equally."""
    return sorted(resources, key=lambda resource: (_ORDER[type(resource)], str(resource)))
