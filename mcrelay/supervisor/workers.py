"""Starts the workers, sends them batches, and passes their answers and exits to the reconciler."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping

from mcrelay.model.state import KERNEL, Ingress
from mcrelay.protocol.framing import Hello
from mcrelay.protocol.worker import Acknowledged, Answer, BatchMessage, Refused, encode_batch
from mcrelay.reconcile.commands import SendBatch
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.supervisor.children import Child, describe_start_error, start_worker
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.log_summary import log_lines
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.privileged import User
from mcrelay.supervisor.snapshot import ProcessInfo
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError
from mcrelay.supervisor.trace_rings import TraceRings

log = logging.getLogger("mcrelay")


class Workers:
    """Holds the processes that forward packets, and passes each of their events to the reconciler."""

    def __init__(
        self,
        user: User | None,
        poller: Poller,
        reconciler: Reconciler,
        sockets: Sockets,
        counter_rows: CounterRows,
        trace_rings: TraceRings,
    ) -> None:
        self.children: dict[int, Child[Answer]] = {}
        self._user = user
        self._poller = poller
        self._reconciler = reconciler
        self._sockets = sockets
        self._counter_rows = counter_rows
        self._trace_rings = trace_rings
        self._rings_read: dict[int, frozenset[Ingress]] = {}  # by the worker or a predecessor

    def infos(self) -> Iterator[ProcessInfo]:
        """Yield the description, for clients, of each worker that exists or should exist."""
        for number, process in sorted(self._reconciler.processes.items()):
            if number == KERNEL:
                continue
            child = self.children.get(number)
            if child is not None or number in self._reconciler.desired.workers:
                yield ProcessInfo(f"worker {number}", "worker", process, child)

    def start(self, worker: int) -> None:
        """Start a worker's process."""
        try:
            child = start_worker(worker, self._user, self._counter_rows.memory(worker))
        except OSError as error:
            reason = describe_start_error(error)
            log.warning("cannot start worker %d: %s", worker, reason)
            self._reconciler.worker_exited(worker, time.monotonic(), f"it cannot start: {reason}")
            return
        self.children[worker] = child
        self._poller.connect(
            child, lambda answer: self._handle(worker, answer), lambda how: self._exited(worker, how)
        )
        log.info("started worker %d (process %d)", worker, child.pid)

    def stop(self, worker: int) -> None:
        """Let a worker exit, and close the rings that only it reads."""
        # The rings are closed before the worker exits, so that other workers get its share of the packets.
        self._rings_read.pop(worker, None)
        self._close_unread_rings(worker)
        self.children[worker].stop()

    def stop_all(self) -> None:
        """Let all workers exit."""
        for child in self.children.values():
            child.stop()

    def kill(self, worker: int) -> None:
        """Kill a worker that does not answer."""
        self.children[worker].kill("it did not answer in time")

    def send(self, batch: SendBatch) -> None:
        """Send a worker a batch, with the sockets, counter rows and trace rings that its actions need."""
        try:
            supply = self._sockets.supply(batch.actions)
            instructions = self._counter_rows.instructions(batch.actions, supply.resumed)
            rings = self._trace_rings.supply(batch.actions)
        except SupplyError as error:
            # The reconciler treats a batch that was not sent like one that the worker refused.
            self._refused(batch.worker, batch.number, error.reasons)
        else:
            message = BatchMessage(batch.number, batch.generation, instructions)
            # Actions that open traces are the last ones of a batch.
            descriptors = [*(sock.fileno() for sock in supply.sockets), *rings]
            self.children[batch.worker].channel.send(encode_batch(message), descriptors)

    def _handle(self, worker: int, answer: Answer) -> None:
        match answer:
            case Hello():
                answer.must_match()
                self._reconciler.worker_started(worker, time.monotonic())
            case Acknowledged(number):
                self._reconciler.batch_acknowledged(worker, number)
                self._rings_read[worker] = self._reconciler.running.workers[worker].ingress
            case Refused(number, index, reason):
                self._refused(worker, number, {index: reason})

    def _refused(self, worker: int, number: int, reasons: Mapping[int, str]) -> None:
        log_lines(logging.WARNING, reasons.values(), f"worker {worker}: ")
        self._close_unread_rings(worker)
        self._reconciler.batch_refused(worker, number, reasons, time.monotonic())

    def _exited(self, worker: int, how: str) -> None:
        child = self.children.pop(worker)
        self._close_unread_rings(worker)
        if child.is_stopping:
            log.info("worker %d (process %d) has ended", worker, child.pid)
        else:
            log.warning("worker %d (process %d) died: %s; restarting it", worker, child.pid, how)
        self._reconciler.worker_exited(worker, time.monotonic(), how)

    def _close_unread_rings(self, worker: int) -> None:
        """Close the rings that neither this worker nor a predecessor has begun to read.

        The next batch opens new ones. A ring that was read stays open, with its packets, for the successor.
        """
        self._sockets.close_rings(worker, except_for=self._rings_read.get(worker, frozenset()))
