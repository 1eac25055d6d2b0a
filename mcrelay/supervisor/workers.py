"""The workers from the supervisor's side: what they are given, what they say, and how they end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping

from mcrelay.model.state import Ingress
from mcrelay.protocol.framing import PROTOCOL, Hello, WireError
from mcrelay.protocol.worker import Acknowledged, Answer, BatchMessage, Refused, encode_batch
from mcrelay.reconcile.commands import SendBatch
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.supervisor import log_summary
from mcrelay.supervisor.children import Child, start_worker, why_not
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.privileged import User
from mcrelay.supervisor.snapshot import ProcessInfo
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError
from mcrelay.supervisor.trace_rings import TraceRings

log = logging.getLogger("mcrelay")


class Workers:
    """The processes that forward. What happens to them is an event of the reconciler."""

    def __init__(
        self,
        user: User | None,
        switchboard: Poller,
        reconciler: Reconciler,
        sockets: Sockets,
        ledger: CounterRows,
        rings: TraceRings,
    ) -> None:
        self.children: dict[int, Child[Answer]] = {}
        self._user = user
        self._switchboard = switchboard
        self._reconciler = reconciler
        self._sockets = sockets
        self._ledger = ledger
        self._rings = rings
        self._read: dict[int, frozenset[Ingress]] = {}

    def members(self) -> Iterator[ProcessInfo]:
        """Yield the workers that there are or shall be."""
        for number, process in sorted(self._reconciler.processes.items()):
            child = self.children.get(number)
            if child is not None or number in self._reconciler.desired.workers:
                yield ProcessInfo(f"worker {number}", "worker", process, child)

    def start(self, worker: int) -> None:
        """Start a worker's process."""
        try:
            child = start_worker(worker, self._user, self._ledger.memory(worker))
        except OSError as error:
            log.warning("cannot start worker %d: %s", worker, why_not(error))
            self._reconciler.worker_exited(worker, time.monotonic(), f"it cannot start: {why_not(error)}")
            return
        self.children[worker] = child
        self._switchboard.connect(
            child, lambda answer: self._heard(worker, answer), lambda how: self._exited(worker, how)
        )
        log.info("worker %d is process %d", worker, child.pid)

    def stop(self, worker: int) -> None:
        """Let a worker end."""
        # Its rings end with it, and not later: their share of the packets is for the others.
        self._read.pop(worker, None)
        self._forget_unread_rings(worker)
        self.children[worker].stop()

    def stop_all(self) -> None:
        """Let all of them end."""
        for child in self.children.values():
            child.stop()

    def kill(self, worker: int) -> None:
        """End a worker that does not answer."""
        self.children[worker].kill("it did not do in time what was asked of it")

    def send(self, batch: SendBatch) -> None:
        """Give a worker its batch, with all that it needs for it."""
        try:
            supply = self._sockets.supply(batch.actions)
            instructions = self._ledger.instructions(batch.actions, supply.resumed)
            rings = self._rings.supply(batch.actions)
        except SupplyError as failure:
            # Nothing to give to the worker: it is not asked.
            self._refused(batch.worker, batch.number, failure.reasons)
        else:
            message = BatchMessage(batch.number, batch.generation, instructions)
            # A batch opens traces last.
            descriptors = [*(sock.fileno() for sock in supply.sockets), *rings]
            self.children[batch.worker].channel.send(encode_batch(message), descriptors)

    def _heard(self, worker: int, answer: Answer) -> None:
        match answer:
            case Hello(protocol) if protocol == PROTOCOL:
                self._reconciler.worker_started(worker, time.monotonic())
            case Hello(protocol):
                raise WireError(f"it speaks protocol {protocol}, not {PROTOCOL}")
            case Acknowledged(number):
                self._reconciler.batch_acknowledged(worker, number)
                self._read[worker] = self._reconciler.running.workers[worker].ingress
            case Refused(number, index, reason):
                self._refused(worker, number, {index: reason})

    def _refused(self, worker: int, number: int, reasons: Mapping[int, str]) -> None:
        for reason in log_summary.first(reasons.values()):
            log.warning("worker %d: %s", worker, reason)
        self._forget_unread_rings(worker)
        self._reconciler.batch_refused(worker, number, reasons, time.monotonic())

    def _exited(self, worker: int, how: str) -> None:
        child = self.children.pop(worker)
        self._forget_unread_rings(worker)
        if child.is_to_end:
            log.info("worker %d (process %d) has ended", worker, child.pid)
        else:
            log.warning("worker %d (process %d) died: %s; it comes back", worker, child.pid, how)
        self._reconciler.worker_exited(worker, time.monotonic(), how)

    def _forget_unread_rings(self, worker: int) -> None:
        """Close the rings that neither a worker nor a predecessor has begun to read.

        The next try begins with new ones; those that were read wait for the successor with what they hold.
        """
        self._sockets.forget_rings(worker, self._read.get(worker, frozenset()))
