"""The supervisor's loop: what happens, what it means for the reconciler, and what is to be done then."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from mcrelay.command import Batch, Command, Kill, Perform, Start, Stop
from mcrelay.config import Config
from mcrelay.links import LinkTable
from mcrelay.plan import RuleState, Verdict, plan
from mcrelay.problem import Invalid
from mcrelay.reconcile import Reconciler
from mcrelay.state import Ingress
from mcrelay.supervisor import files, summary
from mcrelay.supervisor.children import ChannelClosed, Child
from mcrelay.supervisor.netlink import Bell, CannotRead, read_links
from mcrelay.supervisor.notify import Notifier
from mcrelay.supervisor.privileged import User
from mcrelay.supervisor.rows import Ledger, NoRoom
from mcrelay.supervisor.signals import Signals
from mcrelay.supervisor.sockets import CannotOpen, Sockets
from mcrelay.wire import PROTOCOL, Acknowledged, Answer, BatchMessage, Hello, Refused

log = logging.getLogger("mcrelay")

QUIET = 0.02  # seconds from the first news of links until they are read anew, so that one look serves several
LATER = 1.0  # seconds until the next try where that failed
GOODBYE = 1.5  # seconds that the children have to end by themselves

_PEACEFUL = (RuleState.ACTIVE, RuleState.DISABLED)


class Supervisor:
    """The process that decides. It reads no byte from the wire, and none that a client sends."""

    def __init__(self, path: Path, user: User | None, signals: Signals, notifier: Notifier) -> None:
        self._path = path
        self._signals = signals
        self._user = user
        self._notifier = notifier
        self._reconciler = Reconciler()
        self._sockets = Sockets()
        self._ledger = Ledger()
        self._children: dict[int, Child] = {}
        self._read: dict[int, frozenset[Ingress]] = {}
        self._selector = selectors.DefaultSelector()
        self._config: Config | None = None
        self._hash = ""
        self._generation = 0
        self._links = LinkTable()
        self._verdicts: dict[str, Verdict] = {}
        self._links_due: float | None = None
        self._alive_due: float | None = None
        self._answer_owed: str | None = None
        self._is_tidy = False
        self._is_stopping = False

    def run(self) -> None:
        """Relay until a signal ends it; raises Invalid when the config is no good at the start."""
        config, digest = files.load(self._path)
        self._accept(config, digest)
        self._open()
        self._answer_owed = "started"
        while not self._is_stopping:
            self._carry_out_what_is_due()
            self._answer_when_settled()
            self._wait()
        self._close()

    def _open(self) -> None:
        self._selector.register(self._signals, selectors.EVENT_READ, lambda _: self._signalled())
        bell = Bell()
        self._selector.register(bell, selectors.EVENT_READ, lambda _: self._link_changed(bell))
        self._read_links()
        if self._notifier.watchdog_pause is not None:
            self._alive_due = time.monotonic()

    def _close(self) -> None:
        self._notifier.stopping()
        for child in self._children.values():
            child.stop()
        deadline = time.monotonic() + GOODBYE
        while self._children and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
        for child in self._children.values():
            child.kill("it did not end by itself")
            child.reaped()
        log.info("stopped")

    # What happens.

    def _wait(self, timeout: float | None = None) -> None:
        if timeout is None:
            timeout = self._pause()
        self._watch_for_room()
        for key, events in self._selector.select(timeout):
            if key.fd in self._selector.get_map():  # what came before may have closed it
                key.data(events)
        now = time.monotonic()
        if self._links_due is not None and self._links_due <= now:
            self._read_links()
        if self._alive_due is not None and self._alive_due <= now:
            self._notifier.alive()
            self._alive_due = now + (self._notifier.watchdog_pause or 0)

    def _watch_for_room(self) -> None:
        """Wait for room in the channels of those children that are still to be told something."""
        channels = self._selector.get_map()
        for child in self._children.values():
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.has_more_to_say else 0)
            key = channels.get(child.channel)
            if key is not None and key.events != wanted:
                self._selector.modify(child.channel, wanted, key.data)

    def _pause(self) -> float | None:
        if self._reconciler.differs:
            return 0.0
        deadlines = (self._reconciler.next_deadline(), self._links_due, self._alive_due)
        soonest = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if soonest is None else max(0.0, soonest - time.monotonic())

    def _signalled(self) -> None:
        for number in self._signals.arrived():
            match number:
                case signal.SIGHUP:
                    self._reload()
                case signal.SIGUSR1:
                    self._log_summary()
                case signal.SIGTERM | signal.SIGINT:
                    self._is_stopping = True

    def _link_changed(self, bell: Bell) -> None:
        bell.silence()
        if self._links_due is None:
            self._links_due = time.monotonic() + QUIET

    def _read_links(self) -> None:
        self._links_due = None
        try:
            links = read_links()
        except CannotRead as error:
            log.warning("cannot read the links, trying again: %s", error)
            self._links_due = time.monotonic() + LATER
            return
        if links != self._links:
            self._links = links
            self._plan()

    def _heard(self, child: Child, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            child.flush()
        if events & selectors.EVENT_READ:
            try:
                for answer in child.answers():
                    self._answered(child.worker, answer)
            except ChannelClosed as closed:
                self._selector.unregister(child.channel)
                if not self._is_to_end(child):
                    child.put_down(str(closed))

    def _answered(self, worker: int, answer: Answer) -> None:
        now = time.monotonic()
        match answer:
            case Hello(protocol) if protocol == PROTOCOL:
                self._reconciler.worker_started(worker, now)
            case Hello(protocol):
                raise ChannelClosed(f"it speaks protocol {protocol}, not {PROTOCOL}")
            case Acknowledged(number):
                self._reconciler.acknowledged(worker, number)
                self._read[worker] = self._reconciler.running.workers[worker].ingress
            case Refused(number, index, reason):
                self._refused(worker, number, {index: reason})

    def _exited(self, child: Child) -> None:
        for descriptor in (child.channel, child.exit):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        del self._children[child.worker]
        self._forget_unread_rings(child.worker)
        pid, how = child.pid, child.reaped()
        if self._is_to_end(child):
            log.info("worker %d (process %d) has ended", child.worker, pid)
        else:
            log.warning("worker %d (process %d) died: %s; it comes back", child.worker, pid, how)
        self._reconciler.worker_exited(child.worker, time.monotonic())

    def _is_to_end(self, child: Child) -> bool:
        return self._is_stopping or self._reconciler.is_ending(child.worker)

    # What is to be done.

    def _carry_out_what_is_due(self) -> None:
        for command in self._reconciler.due(time.monotonic()):
            self._is_tidy = False
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start(worker):
                self._start(worker)
            case Stop(worker):
                # Its rings end with it, and not later: their share of the packets is for the others.
                self._read.pop(worker, None)
                self._forget_unread_rings(worker)
                self._children[worker].stop()
            case Kill(worker):
                self._children[worker].kill("it did not do in time what was asked of it")
            case Batch():
                self._send(command)
            case Perform(actions):
                failed = self._sockets.perform(actions)
                for reason in failed.values():
                    log.warning("%s", reason)
                self._reconciler.performed(failed, time.monotonic())

    def _start(self, worker: int) -> None:
        try:
            child = Child(worker, self._user, self._ledger.memory(worker))
        except OSError as error:
            log.warning("cannot start worker %d: %s", worker, error.strerror)
            self._reconciler.worker_exited(worker, time.monotonic())
            return
        self._children[worker] = child
        self._selector.register(child.channel, selectors.EVENT_READ, lambda seen: self._heard(child, seen))
        self._selector.register(child.exit, selectors.EVENT_READ, lambda _: self._exited(child))
        log.info("worker %d is process %d", worker, child.pid)

    def _send(self, batch: Batch) -> None:
        try:
            supply = self._sockets.supply(batch.actions)
            instructions = self._ledger.instructions(batch.actions, supply.resumed)
        except (CannotOpen, NoRoom) as failure:
            # Nothing to give to the worker: it is not asked.
            self._refused(batch.worker, batch.number, failure.reasons)
        else:
            message = BatchMessage(batch.number, batch.generation, instructions)
            self._children[batch.worker].send(message, [sock.fileno() for sock in supply.sockets])

    def _refused(self, worker: int, number: int, reasons: Mapping[int, str]) -> None:
        for reason in reasons.values():
            log.warning("worker %d: %s", worker, reason)
        self._forget_unread_rings(worker)
        self._reconciler.refused(worker, number, reasons, time.monotonic())

    def _forget_unread_rings(self, worker: int) -> None:
        """Close the rings that neither a worker nor a predecessor has begun to read.

        The next try begins with new ones; those that were read wait for the successor with what they hold.
        """
        self._sockets.forget_rings(worker, self._read.get(worker, frozenset()))

    # The config.

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            contents = files.read(self._path)
            if (digest := files.digest(contents)) == self._hash:
                log.info("unchanged: generation %d runs on", self._generation)
                self._answer_owed = "unchanged"
            else:
                self._accept(files.config_of(contents), digest)
                self._answer_owed = "reloaded"
        except Invalid as invalid:
            self._reject(invalid)

    def _reject(self, invalid: Invalid) -> None:
        for line in invalid.lines():
            log.error("%s", line)
        log.error("rejected, problems: %d; generation %d runs on", len(invalid.problems), self._generation)
        self._answer_owed = f"rejected: {invalid.problems[0]}; running on"

    def _accept(self, config: Config, digest: str) -> None:
        """Take a config that is known to be good."""
        for warning in config.warnings:
            log.warning("%s", warning)
        self._generation += 1
        log.info("generation %d, rules: %s", self._generation, _changes(self._config, config))
        self._config, self._hash = config, digest
        self._plan()

    def _plan(self) -> None:
        assert self._config is not None
        desired = plan(self._config, self._links, os.cpu_count() or 1)
        self._reconciler.planned(desired, self._generation)
        self._is_tidy = False

    def _answer_when_settled(self) -> None:
        """Tidy up and say what came of it, once nothing is under way any more."""
        if not self._reconciler.settled or (self._is_tidy and self._answer_owed is None):
            return
        self._is_tidy = True
        self._sockets.keep(self._reconciler.plan.state)
        assert self._config is not None
        self._ledger.keep(self._config, self._reconciler.plan.state)
        self._log_verdicts()
        if self._answer_owed is not None:
            states = self._counted_states()
            log.info("%s: %s", self._answer_owed, states)
            self._notifier.ready(f"{self._answer_owed}: generation {self._generation}, {states}")
            self._answer_owed = None

    def _log_verdicts(self) -> None:
        """Log each rule whose state or reason is another than before."""
        before, self._verdicts = self._verdicts, self._reconciler.verdicts()
        for name, verdict in self._verdicts.items():
            if verdict != before.get(name, Verdict(RuleState.ACTIVE)):
                level = logging.INFO if verdict.state in _PEACEFUL and not verdict.reason else logging.WARNING
                log.log(level, "rule %s: %s%s", name, verdict.state, verdict.reason and f": {verdict.reason}")

    def _counted_states(self) -> str:
        states = [verdict.state for verdict in self._verdicts.values()]
        counts = [f"{states.count(state)} {state}" for state in RuleState if state in states]
        noun = "rule" if len(states) == 1 else "rules"
        return f"{len(states)} {noun}" + (f" ({', '.join(counts)})" if counts else "")

    def _log_summary(self) -> None:
        log.info("generation %d of %s: %s", self._generation, self._path, self._counted_states())
        for line in summary.lines(self._reconciler.plan, self._reconciler.verdicts(), self._ledger):
            log.info("%s", line)


def _changes(before: Config | None, after: Config) -> str:
    old = before.rules if before else {}
    added = len(after.rules.keys() - old.keys())
    removed = len(old.keys() - after.rules.keys())
    kept = [name for name in after.rules if name in old]
    changed = sum(old[name] != after.rules[name] for name in kept)
    return f"{added} added, {changed} changed, {removed} removed, {len(kept) - changed} kept"
