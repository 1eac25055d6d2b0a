"""The rings in which workers write down what became of a traced rule's packets."""

from __future__ import annotations

from collections.abc import Sequence

from mcrelay.ipc.shared_memory import Shared
from mcrelay.model.actions import Open, WorkerAction
from mcrelay.model.state import DesiredState, Trace
from mcrelay.protocol.control import TraceState
from mcrelay.supervisor.supply import SupplyError
from mcrelay.tracing.ring import MEMORY_SIZE


class TraceRings:
    """One memory for each worker and trace: a worker's successor writes on in the same."""

    def __init__(self) -> None:
        self._memories: dict[tuple[int, Trace], Shared] = {}

    def supply(self, actions: Sequence[WorkerAction]) -> list[int]:
        """Return the descriptors that a worker needs for these actions; raises SupplyError."""
        descriptors, failed = [], {}
        for index, action in enumerate(actions):
            match action:
                case Open(worker, Trace() as trace):
                    try:
                        descriptors.append(self.ring(worker, trace).descriptor)
                    except OSError as error:
                        failed[index] = f"cannot trace rule {trace.rule}: {error.strerror}"
        if failed:
            raise SupplyError(failed)
        return descriptors

    def ring(self, worker: int, trace: Trace) -> Shared:
        """Return the memory of a worker's trace; OSError where there is none to be had."""
        key = (worker, trace)
        if key not in self._memories:
            self._memories[key] = Shared(f"mcrelay-trace-{worker}-{trace.number}", MEMORY_SIZE)
        return self._memories[key]

    def for_reading(self, tracing: TraceState) -> list[int]:
        """Return the descriptors by which the rings of a trace can be read; raises SupplyError."""
        trace = Trace(tracing.rule, tracing.number)
        try:
            return [self.ring(worker, trace).for_reading for worker in tracing.workers]
        except OSError as error:
            raise SupplyError({0: f"cannot trace rule {trace.rule}: {error.strerror}"}) from None

    def keep(self, state: DesiredState) -> None:
        """Give up the memories of traces that are not in `state`."""
        kept = {(worker, trace) for worker in state.workers for trace in state.forwarding.traces}
        for key in self._memories.keys() - kept:
            self._memories.pop(key).close()
