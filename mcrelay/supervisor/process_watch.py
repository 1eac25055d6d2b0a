"""Watches the children for one that stands still, and kills it, so that its successor goes on.

SIGCHLD tells at once that a signal has stopped a child. To find a worker that is stuck, the supervisor looks
at the rings and counters that it shares with the worker: each second while there is traffic, else seldom. A
worker that carries out a batch stands if it neither runs nor wants to: a busy host may let it wait, but then
it is runnable. One that runs without end has the deadline of its batch.
"""

from __future__ import annotations

import time

from mcrelay.linux.process_usage import read_run_state
from mcrelay.reconcile.lifecycle import Phase
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.reconcile.standstill import CHECK_INTERVAL_S, ProcessObservation, StandstillDetector
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.workers import Workers

IDLE_INTERVAL_S = 5.0  # between two checks without traffic
SLEEPING_STATES = ("S", "T", "t")  # asleep, or stopped by a signal or a debugger (proc(5))


class ProcessWatch:
    """Checks all children when it is `due`."""

    def __init__(
        self,
        poller: Poller,
        reconciler: Reconciler,
        workers: Workers,
        sockets: Sockets,
        counter_rows: CounterRows,
    ) -> None:
        self._poller = poller
        self._reconciler = reconciler
        self._workers = workers
        self._sockets = sockets
        self._counter_rows = counter_rows
        self._detector = StandstillDetector()
        self._checked = self._due = 0.0
        self._is_soon = True
        """Whether `_due` counts, and not the next wake-up for another reason."""

    def due(self, next_wake_up: float | None) -> float:
        """Return the time of the next check: without work, that of `next_wake_up` if there is one."""
        if any(process.phase is Phase.BUSY for process in self._reconciler.processes.values()):
            return min(self._due, self._checked + CHECK_INTERVAL_S)
        return self._due if self._is_soon or next_wake_up is None else next_wake_up

    def record_signal(self) -> None:
        """Record that a child has stopped, continued or exited."""
        self._due, self._is_soon = time.monotonic(), True

    def check(self) -> None:
        """Kill the children that stand still."""
        now = time.monotonic()
        standing = self._detector.check(self._observe(), now)
        for child in self._poller.children:
            if child.pid in standing:
                child.kill(standing[child.pid])
        self._is_soon = self._detector.is_active
        self._checked, self._due = now, now + (CHECK_INTERVAL_S if self._is_soon else IDLE_INTERVAL_S)

    def _observe(self) -> dict[int, ProcessObservation]:
        """Return what is to be seen of each child, by process ID."""
        waiting = self._sockets.rings_with_packets()
        found = {child.pid: ProcessObservation(child.is_stopped) for child in self._poller.children}
        for worker, child in self._workers.children.items():
            # A worker that starts has a deadline of its own.
            phase = self._reconciler.processes[worker].phase
            if phase is Phase.BUSY:
                state, cpu_ticks = read_run_state(child.pid)
                is_asleep = state in SLEEPING_STATES
                found[child.pid] = ProcessObservation(
                    child.is_stopped, has_batch=is_asleep, progress=cpu_ticks
                )
            elif phase is Phase.IDLE:
                read = self._reconciler.running.workers[worker].ingress
                has_packets = any((worker, ingress.ifindex) in waiting for ingress in read)
                progress = self._counter_rows.progress(worker)
                found[child.pid] = ProcessObservation(child.is_stopped, has_packets, progress=progress)
        return found
