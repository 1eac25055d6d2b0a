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
    DesiredState,
    Egress,
    Flow,
    Ingress,
    MaxAge,
    Membership,
    PortReservation,
    Resource,
    RunningState,
    Trace,
    WorkerState,
)

# Each kind needs the kinds before it: a flow its ring and its sockets, a trace the flows of its rule.
_ORDER = {
    kind: position
    for position, kind in enumerate((MaxAge, Ingress, Egress, Flow, Trace, PortReservation, Membership))
}

_Some = TypeVar("_Some", bound=Resource)


def diff(running: RunningState, desired: DesiredState) -> list[Action]:
    """Return the actions that turn `running` into `desired`, additions before removals.

    An addition follows the additions that it needs: a flow follows its ring and its sockets, and a membership
    follows the flows, so that the first packet of the group finds its route. Removals are in the opposite
    order.
    """
    additions: list[Action] = []
    removals: list[Action] = []
    wanted = desired.forwarding
    for worker in desired.workers:
        have = running.workers.get(worker)
        if have is None:
            additions.append(StartWorker(worker))
            have = WorkerState()
        if have is not wanted:
            additions += _additions(worker, have, wanted)
            removals += _removals(worker, have, wanted)
    additions += [Acquire(resource) for resource in _sorted(desired.resources - running.resources)]
    releases = [Release(resource) for resource in _sorted(running.resources - desired.resources)[::-1]]
    removals += [StopWorker(worker) for worker in running.workers if worker not in desired.workers]
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


def _sorted(resources: Iterable[_Some]) -> list[_Some]:
    """Return resources in the order in which they are opened; equal sets are sorted equally."""
    return sorted(resources, key=lambda resource: (_ORDER[type(resource)], str(resource)))
