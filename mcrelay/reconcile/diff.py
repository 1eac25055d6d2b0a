"""The difference between two states, as the shortest list of actions."""

from __future__ import annotations

from mcrelay.model.actions import (
    Action,
    CloseEgress,
    CloseIngress,
    CloseTrace,
    DeleteFlow,
    Join,
    Leave,
    OpenEgress,
    OpenIngress,
    OpenTrace,
    ReleasePort,
    ReservePort,
    SetFlow,
    StartWorker,
    StopWorker,
)
from mcrelay.model.state import DesiredState, RunningState, WorkerState


def diff(running: RunningState, desired: DesiredState) -> list[Action]:
    """Return what turns `running` into `desired`, additions before removals.

    Additions come in the order in which they need one another: a flow after its ring and its sockets, a
    membership after the flows, so that the first packet it brings finds its route. Removals go the other
    way round.
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
    additions += [ReservePort(hold) for hold in sorted(desired.reservations - running.reservations)]
    additions += [Join(group) for group in sorted(desired.memberships - running.memberships, key=str)]
    departures: list[Action] = [
        Leave(group) for group in sorted(running.memberships - desired.memberships, key=str)
    ]
    departures += [ReleasePort(hold) for hold in sorted(running.reservations - desired.reservations)]
    removals += [StopWorker(worker) for worker in running.workers if worker not in desired.workers]
    return additions + departures + removals


def _additions(worker: int, have: WorkerState, wanted: WorkerState) -> list[Action]:
    return [
        *(OpenIngress(worker, ingress) for ingress in sorted(wanted.ingress - have.ingress)),
        *(OpenEgress(worker, egress) for egress in sorted(wanted.egress - have.egress)),
        *(
            SetFlow(worker, flow, route)
            for flow, route in wanted.flows.items()
            if have.flows.get(flow) != route
        ),
        *(OpenTrace(worker, trace) for trace in sorted(wanted.traces - have.traces)),
    ]


def _removals(worker: int, have: WorkerState, wanted: WorkerState) -> list[Action]:
    # A ring that changes its size is replaced by OpenIngress, not closed.
    read = {ingress.ifindex for ingress in wanted.ingress}
    return [
        *(CloseTrace(worker, trace) for trace in sorted(have.traces - wanted.traces)),
        *(DeleteFlow(worker, flow) for flow in have.flows if flow not in wanted.flows),
        *(CloseEgress(worker, egress) for egress in sorted(have.egress - wanted.egress)),
        *(CloseIngress(worker, ingress) for ingress in sorted(have.ingress) if ingress.ifindex not in read),
    ]
