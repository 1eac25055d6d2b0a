"""The supervisor's loop: what happens, what it means for the reconciler, and what is to be done then."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from mcrelay.linux.netlink import LinkMonitor, LinkTableError, read_links
from mcrelay.model.links import LinkTable
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.protocol.control import TraceState
from mcrelay.reconcile.commands import Command, Kill, Perform, SendBatch, Start, Stop
from mcrelay.reconcile.plan import plan
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.reconcile.trace_requests import TraceRequests
from mcrelay.reload.requests import RequestError
from mcrelay.reload.results import Cause
from mcrelay.storage import request_file
from mcrelay.supervisor import log_summary
from mcrelay.supervisor.boot_clock import moment
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.control_process import ControlProcess
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.file_watch.watcher import Watcher
from mcrelay.supervisor.listener import ControlListener
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.privileged import User
from mcrelay.supervisor.signals import Signals
from mcrelay.supervisor.snapshot import SnapshotBuilder
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError
from mcrelay.supervisor.systemd import Notifier
from mcrelay.supervisor.trace_rings import TraceRings
from mcrelay.supervisor.workers import Workers

log = logging.getLogger("mcrelay")

QUIET = 0.02  # seconds from the first news of links until they are read anew, so that one look serves several
LATER = 1.0  # seconds until the next try where that failed
GOODBYE = 1.5  # seconds that the children have to end by themselves

_PEACEFUL = (RuleState.ACTIVE, RuleState.DISABLED)


class Supervisor:
    """The process that decides. It reads no byte from the wire, and none that a client sends."""

    def __init__(
        self,
        configuration: Configuration,
        user: User | None,
        run_dir: Path,
        listener: ControlListener,
        signals: Signals,
        notifier: Notifier,
    ) -> None:
        self._configuration = configuration
        self._run_dir = run_dir
        self._signals = signals
        self._notifier = notifier
        self._switchboard = Poller()
        self._reconciler = Reconciler()
        self._sockets = Sockets()
        self._ledger = CounterRows()
        self._rings = TraceRings()
        self._traced = TraceRequests()
        self._workers = Workers(
            user, self._switchboard, self._reconciler, self._sockets, self._ledger, self._rings
        )
        self._control = ControlProcess(user, self._switchboard, listener, configuration.reloads, self._traced)
        self._portrait = SnapshotBuilder(run_dir, configuration, self._reconciler, self._ledger)
        self._watcher = Watcher(configuration.path)
        self._links = LinkTable()
        self._verdicts: dict[str, RuleStatus] = {}
        self._links_due: float | None = None
        self._alive_due: float | None = None
        self._is_tidy = False
        self._is_stopping = False

    def run(self) -> None:
        """Relay until a signal ends it."""
        self._open()
        while not self._is_stopping:
            self.turn()
            self._wait(self._pause())
        self._close()

    def turn(self) -> None:
        """Do, and tell, all that can be done and told without waiting."""
        self._carry_out_what_is_due()
        self._tidy_up_when_settled()
        self._answer_when_settled()
        self._tell_control()

    def _open(self) -> None:
        self._switchboard.watch(self._signals, self._signalled)
        bell = LinkMonitor()
        self._switchboard.watch(bell, lambda: self._link_changed(bell))
        self._switchboard.watch(self._watcher, self._watcher.event_seen)
        self._read_links()
        self._accepted()
        if self._notifier.watchdog_pause is not None:
            self._alive_due = time.monotonic()

    def _close(self) -> None:
        self._notifier.stopping()
        self._control.stop()
        self._workers.stop_all()
        deadline = time.monotonic() + GOODBYE
        while self._switchboard.children and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
        for child in self._switchboard.children:
            child.kill("it did not end by itself")
            child.reaped()
        log.info("stopped")

    # What happens.

    def _wait(self, timeout: float | None) -> None:
        self._switchboard.wait(timeout)
        now = time.monotonic()
        if self._links_due is not None and self._links_due <= now:
            self._read_links()
        if self._watcher.due is not None and self._watcher.due <= now:
            self._look_at_the_files()
        self._look_at_the_trial()
        if self._alive_due is not None and self._alive_due <= now:
            self._notifier.alive()
            self._alive_due = now + (self._notifier.watchdog_pause or 0)

    def _pause(self) -> float | None:
        if self._reconciler.has_unseen_events:
            return 0.0
        left = self._configuration.trials.left(moment())
        deadlines = (
            None if left is None else time.monotonic() + left,
            self._reconciler.next_deadline(),
            self._control.next_deadline(),
            self._links_due,
            self._watcher.due,
            self._alive_due,
        )
        soonest = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if soonest is None else max(0.0, soonest - time.monotonic())

    def _signalled(self) -> None:
        for number in self._signals.arrived():
            match number:
                case signal.SIGHUP:
                    self._reload()
                case signal.SIGUSR2:
                    self._take_request()
                case signal.SIGUSR1:
                    self._log_summary()
                case signal.SIGTERM | signal.SIGINT:
                    self._is_stopping = True

    def _reload(self) -> None:
        self._control.is_outdated = True
        self._is_tidy = False  # what is on trial keeps what is confirmed, and does so no longer
        if self._configuration.reload():
            self._accepted()

    def _take_request(self) -> None:
        """Carry out the operator's request (mcrelay try, mcrelay confirm) in the run directory, if any."""
        self._control.is_outdated = True
        self._is_tidy = False  # a trial keeps the confirmed configuration, and its end gives that up
        try:
            request = request_file.take(self._run_dir)
        except RequestError as why:
            self._configuration.refuse(Cause.HANGUP, f"{self._run_dir / request_file.NAME}: {why}")
            return
        if request and self._configuration.asked(request, moment()):
            self._accepted()

    def _look_at_the_trial(self) -> None:
        if self._configuration.trials.left(moment()) == 0:
            self._control.is_outdated = True
            if self._configuration.trial_ended():
                self._accepted()

    def _look_at_the_files(self) -> None:
        quiet = self._watcher.look()
        if quiet is not None and self._configuration.look(quiet):
            self._accepted()

    def _accepted(self) -> None:
        self._watcher.switch(self._configuration.is_watched)
        self._plan()

    def _link_changed(self, bell: LinkMonitor) -> None:
        bell.silence()
        if self._links_due is None:
            self._links_due = time.monotonic() + QUIET

    def _read_links(self) -> None:
        self._links_due = None
        try:
            links = read_links()
        except LinkTableError as error:
            log.warning("cannot read the links, trying again: %s", error)
            self._links_due = time.monotonic() + LATER
            return
        if links != self._links:
            self._links = self._configuration.links = links
            self._plan()

    def _plan(self) -> None:
        before = self._reconciler.plan
        desired = plan(self._configuration.config, self._links, os.cpu_count() or 1, before)
        self._sockets.expect(desired.state)
        self._reconciler.plan_changed(desired, self._configuration.generation)
        self._is_tidy = False

    # What is to be done.

    def _carry_out_what_is_due(self) -> None:
        self._reconciler.traces_changed(self._traced.traces)
        self._control.is_outdated |= self._reconciler.has_unseen_events
        for command in self._reconciler.due_commands(time.monotonic()):
            self._is_tidy = False
            self._carry_out(command)
        self._control.keep_alive(time.monotonic())

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start(worker):
                self._workers.start(worker)
            case Stop(worker):
                self._workers.stop(worker)
            case Kill(worker):
                self._workers.kill(worker)
            case SendBatch():
                self._workers.send(command)
            case Perform(actions):
                failed = self._sockets.perform(actions)
                for line in log_summary.first(failed.values()):
                    log.warning("%s", line)
                self._reconciler.actions_performed(failed, time.monotonic())

    def _tidy_up_when_settled(self) -> None:
        """Give up what is needed no more, and log what came of it all, once nothing is under way any more."""
        if self._reconciler.is_settled and not self._is_tidy:
            self._is_tidy = True
            self._tidy_up()
            self._log_verdicts()

    def _answer_when_settled(self) -> None:
        """Say what became of the reloads, once nothing is under way any more."""
        reloads = self._configuration.reloads
        if reloads.has_unpublished_results and (self._is_tidy or not reloads.waits_for_workers):
            self._control.is_outdated = True
            self._configuration.settled(self._counted_states())

    def _tidy_up(self) -> None:
        """Give up what neither serves what runs nor what may come back after a trial."""
        configs, states = [self._configuration.config], [self._reconciler.plan.state]
        if confirmed := self._configuration.trials.confirmed:
            configs.append(confirmed.config)
            states.append(plan(confirmed.config, self._links, os.cpu_count() or 1).state)
        self._sockets.keep(*states)
        if not self._control.is_behind:  # it may be told still of rings that nobody needs any more
            self._rings.keep(self._reconciler.desired)
        self._ledger.keep(configs, states)

    def _log_verdicts(self) -> None:
        """Log each rule whose state or reason is another than before."""
        before, self._verdicts = self._verdicts, self._reconciler.statuses()
        lines: dict[int, list[str]] = {logging.INFO: [], logging.WARNING: []}
        for name, verdict in self._verdicts.items():
            if verdict != before.get(name, RuleStatus(RuleState.ACTIVE)):
                level = logging.INFO if verdict.state in _PEACEFUL and not verdict.reason else logging.WARNING
                reason = verdict.reason and f": {verdict.reason}"
                lines[level].append(f"rule {name}: {verdict.state}{reason}")
        for level, those in lines.items():
            for line in log_summary.first(those):
                log.log(level, "%s", line)

    def _counted_states(self) -> str:
        states = [verdict.state for verdict in self._verdicts.values()]
        counts = [f"{states.count(state)} {state}" for state in RuleState if state in states]
        noun = "rule" if len(states) == 1 else "rules"
        return f"{len(states)} {noun}" + (f" ({', '.join(counts)})" if counts else "")

    def _log_summary(self) -> None:
        configuration = self._configuration
        log.info(
            "generation %d of %s: %s", configuration.generation, configuration.path, self._counted_states()
        )
        for line in log_summary.lines(self._reconciler.plan, self._reconciler.statuses_now(), self._ledger):
            log.info("%s", line)

    # What the control process is told.

    def _tell_control(self) -> None:
        """Tell what is new, and which traces can be read or cannot be had."""
        if not self._control.is_listening:
            return
        if self._control.is_outdated:
            members = [self._control.member(), *self._workers.members()]
            self._control.tell(self._portrait.drawn(self._links, members), self._ledger.memories)
        for tracing in self._traced.reports(self._reconciler):
            self._tell_of_trace(tracing)

    def _tell_of_trace(self, tracing: TraceState) -> None:
        try:
            rings = self._rings.for_reading(tracing)
        except SupplyError as failure:
            self._traced.request(tracing.rule, wanted=False)
            tracing, rings = TraceState(tracing.rule, 0, (), str(failure)), []
        self._control.tell_of_trace(tracing, rings)
