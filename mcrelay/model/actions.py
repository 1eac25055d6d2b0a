"""The smallest changes to a state, and what a state becomes when they are carried out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mcrelay.model.state import (
    Egress,
    Flow,
    Ingress,
    Membership,
    PortReservation,
    Route,
    RunningState,
    Trace,
    WorkerState,
)


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a process that forwards."""

    worker: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """End it, with all it has open."""

    worker: int


@dataclass(frozen=True, slots=True)
class OpenIngress:
    """Read a link's packets; an older ring of the same link is replaced."""

    worker: int
    ingress: Ingress


@dataclass(frozen=True, slots=True)
class CloseIngress:
    """Read them no longer."""

    worker: int
    ingress: Ingress


@dataclass(frozen=True, slots=True)
class OpenEgress:
    """Take a socket to send from."""

    worker: int
    egress: Egress


@dataclass(frozen=True, slots=True)
class CloseEgress:
    """Give it up."""

    worker: int
    egress: Egress


@dataclass(frozen=True, slots=True)
class SetFlow:
    """Relay a flow from now on, or relay it elsewhere."""

    worker: int
    flow: Flow
    route: Route


@dataclass(frozen=True, slots=True)
class DeleteFlow:
    """Relay it no longer."""

    worker: int
    flow: Flow


@dataclass(frozen=True, slots=True)
class OpenTrace:
    """Write down what becomes of a rule's packets."""

    worker: int
    trace: Trace


@dataclass(frozen=True, slots=True)
class CloseTrace:
    """Write it down no longer."""

    worker: int
    trace: Trace


@dataclass(frozen=True, slots=True)
class Join:
    """Become a member of a group."""

    membership: Membership


@dataclass(frozen=True, slots=True)
class Leave:
    """Be a member no longer."""

    membership: Membership


@dataclass(frozen=True, slots=True)
class ReservePort:
    """Hold a UDP port."""

    hold: PortReservation


@dataclass(frozen=True, slots=True)
class ReleasePort:
    """Hold it no longer."""

    hold: PortReservation


WorkerAction = (
    OpenIngress | CloseIngress | OpenEgress | CloseEgress | SetFlow | DeleteFlow | OpenTrace | CloseTrace
)
SupervisorAction = Join | Leave | ReservePort | ReleasePort
Action = StartWorker | StopWorker | WorkerAction | SupervisorAction


def applied(state: RunningState, actions: Iterable[Action]) -> RunningState:
    """Return what `state` becomes when `actions` are carried out in their order."""
    memberships, reservations = set(state.memberships), set(state.reservations)
    workers = dict(state.workers)
    drafts: dict[int, _Draft] = {}
    for action in actions:
        match action:
            case StartWorker(worker):
                workers[worker] = WorkerState()
                drafts.pop(worker, None)
            case StopWorker(worker):
                workers.pop(worker, None)
                drafts.pop(worker, None)
            case Join(membership):
                memberships.add(membership)
            case Leave(membership):
                memberships.discard(membership)
            case ReservePort(hold):
                reservations.add(hold)
            case ReleasePort(hold):
                reservations.discard(hold)
            case _:
                if action.worker not in drafts:
                    drafts[action.worker] = _Draft(workers[action.worker])
                drafts[action.worker].take(action)
    workers.update((worker, draft.finished()) for worker, draft in drafts.items())
    return RunningState(workers, frozenset(memberships), frozenset(reservations))


class _Draft:
    """A worker's state while actions are taken, copied once however many they are."""

    def __init__(self, state: WorkerState) -> None:
        self.ingress = {ingress.ifindex: ingress for ingress in state.ingress}
        self.egress = set(state.egress)
        self.flows = dict(state.flows)
        self.traces = set(state.traces)

    def take(self, action: WorkerAction) -> None:
        match action:
            case OpenIngress(_, ingress):
                self.ingress[ingress.ifindex] = ingress
            case CloseIngress(_, ingress):
                if self.ingress.get(ingress.ifindex) == ingress:
                    del self.ingress[ingress.ifindex]
            case OpenEgress(_, egress):
                self.egress.add(egress)
            case CloseEgress(_, egress):
                self.egress.discard(egress)
            case SetFlow(_, flow, route):
                self.flows[flow] = route
            case DeleteFlow(_, flow):
                self.flows.pop(flow, None)
            case OpenTrace(_, trace):
                self.traces.add(trace)
            case CloseTrace(_, trace):  # pragma: no branch: there is no other
                self.traces.discard(trace)

    def finished(self) -> WorkerState:
        return WorkerState(
            frozenset(self.ingress.values()), frozenset(self.egress), self.flows, frozenset(self.traces)
        )


def without_worker(state: RunningState, worker: int) -> RunningState:
    """Return what is left of `state` when a worker died."""
    return replace(state, workers={key: value for key, value in state.workers.items() if key != worker})
