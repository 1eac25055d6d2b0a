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
    Membership,
    PortReservation,
    Resource,
    RunningState,
    Trace,
    WorkerState,
)

# Each kind needs those before it: a flow needs its ring and its sockets, a trace needs the flows of its rule.
_ORDER = {
    kind: place for place, kind in enumerate((Ingress, Egress, Flow, Trace, PortReservation, Membership))
}

_Some = TypeVar("_Some", bound=Resource)


def diff(running: RunningState, desired: DesiredState) -> list[Action]:
    """Return what turns `running` into `desired`, additions before removals.

    Additions come in the order in which they need one another: a flow after its ring and its sockets, a
    membership after the flows, so that the first packet it brings finds its route. Removals come in the
    opposite order.
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
    additions += [Acquire(one) for one in _sorted(desired.resources - running.resources)]
    departures = [Release(one) for one in _sorted(running.resources - desired.resources)[::-1]]
    removals += [StopWorker(worker) for worker in running.workers if worker not in desired.workers]
    return [*additions, *departures, *removals]


def _additions(worker: int, have: WorkerState, wanted: WorkerState) -> list[Action]:
    opened = _sorted(wanted.resources - have.resources)
    return [
        *(Open(worker, one) for one in opened if _ORDER[type(one)] < _ORDER[Flow]),
        *(
            SetFlow(worker, flow, route)
            for flow, route in wanted.flows.items()
            # Routes that do not change are mostly the same objects, which is quickly seen.
            if (before := have.flows.get(flow)) is not route and before != route
        ),
        *(Open(worker, one) for one in opened if _ORDER[type(one)] > _ORDER[Flow]),
    ]


def _removals(worker: int, have: WorkerState, wanted: WorkerState) -> list[Action]:
    # What another resource replaces, such as a ring of another size on the same link, is not closed.
    taken = {exclusive_slot(one) for one in wanted.resources}
    closed = _sorted(one for one in have.resources - wanted.resources if exclusive_slot(one) not in taken)[
        ::-1
    ]
    return [
        *(Close(worker, one) for one in closed if _ORDER[type(one)] > _ORDER[Flow]),
        *(DeleteFlow(worker, flow) for flow in have.flows if flow not in wanted.flows),
        *(Close(worker, one) for one in closed if _ORDER[type(one)] < _ORDER[Flow]),
    ]


def _sorted(resources: Iterable[_Some]) -> list[_Some]:
    """Return resources in the order in which they are opened, and always in the same order."""
    return sorted(resources, key=lambda one: (_ORDER[type(one)], str(one)))
