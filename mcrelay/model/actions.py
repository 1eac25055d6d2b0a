"""The smallest changes to a running state, and what a state becomes when they are carried out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from mcrelay.model.state import (
    Flow,
    Ingress,
    Route,
    RunningState,
    SupervisorResource,
    WorkerResource,
    WorkerState,
)


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start the process of a worker, which has nothing open yet."""

    worker: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """End the process of a worker, and close all that it has open."""

    worker: int


@dataclass(frozen=True, slots=True)
class Open:
    """Open a resource in a worker. A ring replaces the ring of another size on the same link."""

    worker: int
    resource: WorkerResource


@dataclass(frozen=True, slots=True)
class Close:
    """Close a resource of a worker. A ring that was replaced since then stays open."""

    worker: int
    resource: WorkerResource


@dataclass(frozen=True, slots=True)
class SetFlow:
    """Let a worker relay a flow by this route, whether or not it relays the flow already."""

    worker: int
    flow: Flow
    route: Route


@dataclass(frozen=True, slots=True)
class DeleteFlow:
    """Let a worker stop relaying a flow."""

    worker: int
    flow: Flow


@dataclass(frozen=True, slots=True)
class Acquire:
    """Join a group, or reserve a port, in the supervisor itself."""

    resource: SupervisorResource


@dataclass(frozen=True, slots=True)
class Release:
    """Leave a group, or give up the reservation of a port."""

    resource: SupervisorResource


WorkerAction = Open | Close | SetFlow | DeleteFlow
SupervisorAction = Acquire | Release
Action = StartWorker | StopWorker | WorkerAction | SupervisorAction


def exclusive_slot(resource: WorkerResource) -> Hashable:
    """Return what a worker has only one of: opening a resource replaces the one in the same slot.

    A ring takes the slot of its link. Any other resource has a slot of its own.
    """
    return resource.ifindex if isinstance(resource, Ingress) else resource


def applied(state: RunningState, actions: Iterable[Action]) -> RunningState:
    """Return what `state` becomes when `actions` are carried out in their order."""
    resources = set(state.resources)
    workers = dict(state.workers)
    drafts: dict[int, _WorkerDraft] = {}
    for action in actions:
        match action:
            case StartWorker(worker):
                workers[worker] = WorkerState()
                drafts.pop(worker, None)
            case StopWorker(worker):
                workers.pop(worker, None)
                drafts.pop(worker, None)
            case Acquire(resource):
                resources.add(resource)
            case Release(resource):
                resources.discard(resource)
            case _:
                if action.worker not in drafts:
                    drafts[action.worker] = _WorkerDraft(workers[action.worker])
                drafts[action.worker].apply(action)
    workers.update((worker, draft.to_state()) for worker, draft in drafts.items())
    return RunningState(workers, frozenset(resources))


class _WorkerDraft:
    """The state of a worker while actions change it, copied once, however many actions there are."""

    def __init__(self, state: WorkerState) -> None:
        self.open = {exclusive_slot(resource): resource for resource in state.resources}
        self.flows = dict(state.flows)

    def apply(self, action: WorkerAction) -> None:
        match action:
            case Open(_, resource):
                self.open[exclusive_slot(resource)] = resource
            case Close(_, resource):
                if self.open.get(exclusive_slot(resource)) == resource:
                    del self.open[exclusive_slot(resource)]
            case SetFlow(_, flow, route):
                self.flows[flow] = route
            case DeleteFlow(_, flow):  # pragma: no branch: there is no other
                self.flows.pop(flow, None)

    def to_state(self) -> WorkerState:
        return WorkerState(frozenset(self.open.values()), self.flows)


def without_worker(state: RunningState, worker: int) -> RunningState:
    """Return what is left of `state` after a worker died."""
    return replace(state, workers={key: value for key, value in state.workers.items() if key != worker})
