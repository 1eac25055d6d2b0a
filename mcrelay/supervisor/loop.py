"""The supervisor's loop: passes events to the reconciler and carries out the commands that it returns."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from mcrelay.linux.netlink import LinkMonitor, LinkTableError, read_links
from mcrelay.model.links import LinkTable
from mcrelay.model.state import KERNEL
from mcrelay.protocol.control import TraceState
from mcrelay.reconcile.commands import Command, Kill, Perform, SendBatch, Start, Stop
from mcrelay.reconcile.plan import plan
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.reconcile.trace_requests import TraceRequests
from mcrelay.reload.requests import RequestError
from mcrelay.storage import request_file
from mcrelay.supervisor.boot_clock import read_boot_time
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.control_process import ControlProcess
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.file_watch.watcher import Watcher
from mcrelay.supervisor.host_routing import HostRouting
from mcrelay.supervisor.kernel_plane import KernelDataPlane
from mcrelay.supervisor.link_pace import LinkPace
from mcrelay.supervisor.log_summary import StatusLog, count_states, describe_traffic, log_lines
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.process_watch import ProcessWatch
from mcrelay.supervisor.progress import Progress
from mcrelay.supervisor.run_dir_name import RunDirName
from mcrelay.supervisor.service_job import is_restarting
from mcrelay.supervisor.signals import Signals
from mcrelay.supervisor.snapshot import SnapshotBuilder
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError
from mcrelay.supervisor.systemd import Notifier
from mcrelay.supervisor.timers import Timer, run_due, seconds_left
from mcrelay.supervisor.trace_rings import TraceRings
from mcrelay.supervisor.workers import Workers

log = logging.getLogger("mcrelay")

RETRY_DELAY_S = 1.0  # from a failed read of the links until the next one
EXIT_TIMEOUT_S = 1.5  # for the children to end by themselves


@dataclass
class Supervisor:
    """Decides what runs. It reads no packet, and no byte that a client sends.

    `mcrelay/supervisor/daemon.py` builds the supervisor from its parts.
    """

    configuration: Configuration
    run_dir: Path
    run_dir_name: RunDirName
    signals: Signals
    notifier: Notifier
    poller: Poller
    reconciler: Reconciler
    sockets: Sockets
    routing: HostRouting
    counter_rows: CounterRows
    trace_rings: TraceRings
    trace_requests: TraceRequests
    workers: Workers
    kernel: KernelDataPlane
    control: ControlProcess
    process_watch: ProcessWatch
    snapshot: SnapshotBuilder
    watcher: Watcher

    def __post_init__(self) -> None:
        self._progress = Progress(self.reconciler, self.configuration.reloads)
        self._status_log = StatusLog()
        self._links = LinkTable()
        self._links_due: float | None = None
        self._has_removed_links = False
        self._link_pace = LinkPace()
        self._watchdog_due: float | None = None
        self._is_stopping = False
        self._applies_files: bool | None = None
        self.configuration.find_routes = self.routing.find
        self._timers = (
            Timer(lambda now: now if self.reconciler.has_unseen_events else None),
            Timer(lambda _: self.reconciler.next_deadline()),
            Timer(lambda _: self.control.next_deadline()),
            Timer(lambda _: self._links_due, self._read_links),
            Timer(lambda _: self.routing.next_deadline(), self._update_routing),
            Timer(lambda _: self.process_watch.due(self.watcher.due), self._check_processes),
            Timer(lambda _: self.watcher.due, self._check_files),  # moves `watcher.due`: the last to use it
            Timer(self._trial_deadline, self._finish_trial),
            Timer(lambda _: self._watchdog_due, self._notify_watchdog),
            Timer(lambda _: self.notifier.due, self.notifier.send_unsent),
        )

    def run(self) -> None:
        """Relay until a signal ends the daemon."""
        self._start()
        while not self._is_stopping:
            self.turn()
            self.poller.wait(seconds_left(self._timers, time.monotonic()))
            run_due(self._timers, time.monotonic())
        self._stop()

    def _start(self) -> None:
        """Watch for events, and plan the sockets and workers of the configuration."""
        link_monitor = LinkMonitor()
        self.poller.watch(self.signals, self._handle_signals)
        self.poller.watch(link_monitor, lambda: self._links_changed(link_monitor))
        self.poller.watch(self.routing.route_monitor, self.routing.routes_changed)
        self.poller.watch(self.routing.neighbour_monitor, self._neighbours_changed)
        self.poller.watch(self.watcher, self.watcher.record_event)
        self._read_links()
        self._apply_configuration()
        self._carry_out_commands()
        self._check_files()  # from READY on no write to them is missed
        if self.notifier.watchdog_interval is not None:
            self._watchdog_due = time.monotonic()

    def turn(self) -> None:
        """Carry out the commands that are due, publish results, and update the control process."""
        self._carry_out_commands()
        if self._progress.needs_cleanup:
            self._progress.record_cleanup()
            self._clean_up()
            self._status_log.log_changes(self.reconciler.statuses())
        if self._progress.has_results:
            self._progress.record_change()
            self.configuration.publish_results(self.reconciler.statuses())
        if self.control.is_ready:
            self._update_control_process()

    def _stop(self) -> None:
        self.notifier.stopping()
        if is_restarting():
            self.kernel.close()  # the next daemon adopts it
        else:
            self.kernel.remove()
        self.control.stop()
        self.workers.stop_all()
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        while self.poller.children and (left := deadline - time.monotonic()) > 0:
            self.poller.wait(left)
            run_due(self._timers, time.monotonic())
        for child in self.poller.children:
            child.kill("it did not exit by itself")
            child.reap()
        log.info("stopped")

    # Events.

    def _handle_signals(self) -> None:
        for number in self.signals.read():
            match number:
                case signal.SIGHUP:
                    self._reload()
                case signal.SIGUSR2:
                    self._handle_request()
                case signal.SIGCHLD:
                    self.process_watch.record_signal()
                case signal.SIGUSR1:
                    self._log_summary()
                case signal.SIGTERM | signal.SIGINT:
                    self._is_stopping = True

    def _reload(self) -> None:
        self._progress.record_reload()
        if self.configuration.reload():
            self._apply_configuration()

    def _handle_request(self) -> None:
        """Carry out the request of `mcrelay try` or `mcrelay confirm` in the run directory, if any."""
        self._progress.record_reload()
        try:
            request = request_file.consume(self.run_dir)
        except RequestError as error:
            self.configuration.refuse_unreadable(self.run_dir / request_file.NAME, str(error))
            return
        if request and self.configuration.handle_request(request, read_boot_time()):
            self._apply_configuration()

    def _check_processes(self) -> None:
        self.process_watch.check()
        self.run_dir_name.discard_connections()
        if self.snapshot.has_other_problems:
            self._progress.record_change()

    def _check_files(self) -> None:
        stamps = self.watcher.check()
        if stamps is None:
            return
        self._progress.record_change()
        if self.configuration.reload_if_changed(stamps):
            self._apply_configuration()

    def _trial_deadline(self, now: float) -> float | None:
        left = self.configuration.trials.seconds_left(read_boot_time())
        return None if left is None else now + left

    def _finish_trial(self) -> None:
        self._progress.record_change()
        if self.configuration.finish_trial():
            self._apply_configuration()

    def _notify_watchdog(self) -> None:
        self.notifier.alive()
        self._watchdog_due = time.monotonic() + (self.notifier.watchdog_interval or 0)

    def _links_changed(self, link_monitor: LinkMonitor) -> None:
        removed = link_monitor.read() & self.reconciler.desired.ifindexes
        self.routing.links_changed()
        if removed:
            self._forget_links(removed)
        elif self._links_due is None:
            self._links_due = self._link_pace.record_change(time.monotonic())

    def _forget_links(self, removed: Set[int]) -> None:
        """Forget what went with these devices, and plan again at once, before it is opened where they were.

        A device that was created again with the same number needs it anew, even if it looks as it did before.
        """
        self.sockets.forget_links(removed)
        self.reconciler.links_removed(removed)
        self._has_removed_links = True
        self._read_links()

    def _read_links(self) -> None:
        self._links_due = None
        try:
            links = read_links()
        except LinkTableError as error:
            log.warning("cannot read the links, trying again: %s", error)
            self._links_due = time.monotonic() + RETRY_DELAY_S
            return
        if links != self._links or self._has_removed_links:
            self._has_removed_links = False
            self._links = self.configuration.links = links
            # Answers from before may name a device that another one has replaced.
            self.routing.links_changed()
            self._plan()

    def _neighbours_changed(self) -> None:
        self.routing.neighbours_changed()
        self._update_routing()

    def _update_routing(self) -> None:
        """Plan again if a route or the state of a neighbour has changed for an output."""
        if self.routing.update(self.configuration.config, self._links):
            self._plan()

    def _apply_configuration(self) -> None:
        # The watcher is on in any case, because `mcrelay status` tells that the files differ from what runs.
        if self._applies_files is not self.configuration.is_watched:
            self._applies_files = self.configuration.is_watched
            self.watcher.switch(False)  # so that it reports the files again, which are treated otherwise now
        self.watcher.switch(True)
        self.kernel.prepare(self.configuration.config)
        self._plan()

    def _plan(self) -> None:
        before = self.reconciler.plan
        config, cpus = self.configuration.config, os.cpu_count() or 1
        support = self.kernel.support
        self.routing.follows_addresses = not support.missing
        answers = self.routing.follow(config, self._links)
        desired = plan(config, self._links, cpus, before, answers, support)
        self.sockets.warn_if_too_many(desired.state)
        self.reconciler.plan_changed(desired, self.configuration.generation)
        self.kernel.update_tables()
        self._progress.record_work()

    # Commands.

    def _carry_out_commands(self) -> None:
        self.reconciler.traces_changed(self.trace_requests.traces)
        if self.reconciler.has_unseen_events:
            self._progress.record_change()
        for command in self.reconciler.due_commands(time.monotonic()):
            self._progress.record_work()
            self._carry_out(command)
        if self.kernel.has_changed:
            self.kernel.has_changed = False
            self._plan()
        self.control.keep_alive(time.monotonic())

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start(worker) if worker == KERNEL:
                self.kernel.start()
            case Stop(worker) | Kill(worker) if worker == KERNEL:
                self.kernel.stop()
            case SendBatch(worker) if worker == KERNEL:
                self.kernel.send(command)
            case Start(worker):
                self.workers.start(worker)
            case Stop(worker):
                self.workers.stop(worker)
            case Kill(worker):
                self.workers.kill(worker)
            case SendBatch():
                self.workers.send(command)
            case Perform(actions):
                failed = self.sockets.perform(actions)
                log_lines(logging.WARNING, failed.values())
                self.reconciler.actions_performed(failed, time.monotonic())

    def _clean_up(self) -> None:
        """Release the resources that neither the running config nor the confirmed config of a trial needs."""
        # Workers also need the rings of the rules that they relay while these are traced.
        configs, states = [self.configuration.config], [self.reconciler.desired]
        if confirmed := self.configuration.trials.confirmed:
            configs.append(confirmed.config)
            answers = self.routing.find(confirmed.config, self._links)
            cpus, support = os.cpu_count() or 1, self.kernel.support
            states.append(plan(confirmed.config, self._links, cpus, None, answers, support).state)
        self.sockets.release_all_except(*states)
        self.kernel.clean_up(self.configuration.config)
        if not self.control.has_unsent:  # an unsent message may hold descriptors of trace rings
            self.trace_rings.release_all_except(self.reconciler.desired)
        self.kernel.clear_rows(self.counter_rows.release_all_except(configs, states))

    def _log_summary(self) -> None:
        generation, path = self.configuration.generation, self.configuration.path
        statuses = self.reconciler.statuses_now()
        self.counter_rows.kernel = self.kernel.read_counters()
        log.info("generation %d of %s: %s", generation, path, count_states(statuses))
        for line in describe_traffic(self.reconciler.plan, statuses, self.counter_rows):
            log.info("%s", line)
        self.counter_rows.kernel = None

    # Messages to the control process.

    def _update_control_process(self) -> None:
        """Send the changes of the snapshot, and the state of each trace that has changed."""
        if self._progress.is_snapshot_outdated or not self.control.has_snapshot:
            processes = [self.control.info(), *self.workers.infos()]
            self.control.send_snapshot(
                self.snapshot.build(self._links, processes),
                self.counter_rows.memories,
                self.kernel.counter_segments(),
            )
            self._progress.record_snapshot()
        for trace in self.trace_requests.reports(self.reconciler):
            self._send_trace_state(trace)

    def _send_trace_state(self, trace: TraceState) -> None:
        try:
            rings = self.trace_rings.for_reading(trace)
        except SupplyError as error:
            self.trace_requests.request(trace.rule, wanted=False)
            trace, rings = TraceState(trace.rule, 0, (), str(error)), []
        self.control.send_trace_state(trace, rings)
