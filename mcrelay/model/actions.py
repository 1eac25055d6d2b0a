"""Actions, the smallest changes to a running state, and the functions that apply them to a state."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Set
from dataclasses import dataclass, replace

from mcrelay.model.state import (
    Flow,
    Ingress,
    MaxAge,
    Membership,
    Route,
    RunningState,
    SupervisorResource,
    WorkerResource,
    WorkerState,
)


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Starts the process of a worker. The new worker has no open resources and no flows."""

    worker: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Ends the process of a worker and closes all its resources."""

    worker: int


@dataclass(frozen=True, slots=True)
class Open:
    """Opens a resource in a worker. It replaces a resource in the same slot, such as a smaller ring."""

    worker: int
    resource: WorkerResource


@dataclass(frozen=True, slots=True)
class Close:
    """Closes a resource of a worker, unless another resource has already replaced it."""

    worker: int
    resource: WorkerResource


@dataclass(frozen=True, slots=True)
class SetFlow:
    """Makes a worker relay a flow by this route, which replaces the previous route of the flow."""

    worker: int
    flow: Flow
    route: Route


@dataclass(frozen=True, slots=True)
class DeleteFlow:
    """Makes a worker stop relaying a flow."""

    worker: int
    flow: Flow


@dataclass(frozen=True, slots=True)
class Acquire:
    """Joins a group or reserves a port in the supervisor itself."""

    resource: SupervisorResource


@dataclass(frozen=True, slots=True)
class Release:
    """Leaves a group or ends the reservation of a port in the supervisor itself."""

    resource: SupervisorResource


WorkerAction = Open | Close | SetFlow | DeleteFlow
SupervisorAction = Acquire | Release
Action = StartWorker | StopWorker | WorkerAction | SupervisorAction


def exclusive_slot(resource: WorkerResource) -> Hashable:
    """Return the slot that a resource takes in a worker: a resource replaces the previous one in its slot.

    A ring takes the slot of its link, and a greatest age takes the only slot of its kind. Every other
    resource has its own slot.
    """
    match resource:
        case Ingress(ifindex=ifindex):
            return ifindex
        case MaxAge():
            return MaxAge
        case _:
            return resource


def applied(state: RunningState, actions: Iterable[Action]) -> RunningState:
    """Return the state that results from `state` when `actions` are carried out in their order."""
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
    """A mutable copy of the state of a worker, made once for any number of actions."""

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


def with_worker(state: RunningState, worker: int, has: WorkerState) -> RunningState:
    """Return `state` with a worker that has started, or the kernel data plane that was opened."""
    return replace(state, workers={**state.workers, worker: has})


def without_worker(state: RunningState, worker: int) -> RunningState:
    """Return `state` without a worker that died."""
    return replace(state, workers={key: value for key, value in state.workers.items() if key != worker})


def without_links(state: RunningState, ifindexes: Set[int]) -> RunningState:
    """Return `state` without what went with devices that were deleted: their memberships and rings.

    A ring that is gone has frames of 0 octets, so that a new one replaces it, or a worker closes it.
    """
    kept = (item for item in state.resources if _link_of(item) not in ifindexes)
    workers = {
        worker: replace(has, resources=frozenset(_without_ring(item, ifindexes) for item in has.resources))
        for worker, has in state.workers.items()
    }
    return replace(state, workers=workers, resources=frozenset(kept))


def _link_of(resource: SupervisorResource) -> int | None:
    return resource.ifindex if isinstance(resource, Membership) else None


def _without_ring(resource: WorkerResource, ifindexes: Set[int]) -> WorkerResource:
    if isinstance(resource, Ingress) and resource.ifindex in ifindexes:
        return replace(resource, frame_size=0)
    return resource
