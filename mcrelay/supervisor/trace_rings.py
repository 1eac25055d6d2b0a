"""The shared memory in which workers record the packets of a traced rule and their outcomes."""

from __future__ import annotations

from collections.abc import Sequence

from mcrelay.ipc.shared_memory import SharedMemory
from mcrelay.model.actions import Open, WorkerAction
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.state import DesiredState, Trace
from mcrelay.protocol.control import TraceState
from mcrelay.supervisor.supply import SupplyError
from mcrelay.tracing.ring import TRACE_RING_SIZE


class TraceRings:
    """Holds a ring for each worker and trace. A restarted worker continues the ring of its predecessor."""

    def __init__(self) -> None:
        self._memories: dict[tuple[int, Trace], SharedMemory] = {}

    def supply(self, actions: Sequence[WorkerAction]) -> list[int]:
        """Return the descriptors of the rings that a worker needs for these actions; raises SupplyError."""
        descriptors, failed = [], {}
        for index, action in enumerate(actions):
            match action:
                case Open(worker, Trace() as trace):
                    try:
                        descriptors.append(self.ring(worker, trace).descriptor)
                    except OSError as error:
                        failed[index] = f"cannot trace rule {trace.rule}: {format_os_error(error)}"
        if failed:
            raise SupplyError(failed)
        return descriptors

    def ring(self, worker: int, trace: Trace) -> SharedMemory:
        """Return the memory of a worker's trace, created if it is missing; raises OSError."""
        key = (worker, trace)
        if key not in self._memories:
            self._memories[key] = SharedMemory(f"mcrelay-trace-{worker}-{trace.number}", TRACE_RING_SIZE)
        return self._memories[key]

    def for_reading(self, state: TraceState) -> list[int]:
        """Return the read-only descriptors of a trace's rings, one for each worker; raises SupplyError."""
        trace = Trace(state.rule, state.number)
        try:
            return [self.ring(worker, trace).for_reading for worker in state.workers]
        except OSError as error:
            raise SupplyError({0: f"cannot trace rule {trace.rule}: {format_os_error(error)}"}) from None

    def release_all_except(self, state: DesiredState) -> None:
        """Close the rings of traces that are not in `state`."""
        kept = {(worker, trace) for worker in state.workers for trace in state.forwarding.traces}
        for key in self._memories.keys() - kept:
            self._memories.pop(key).close()
