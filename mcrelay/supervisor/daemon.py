"""Builds the supervisor from its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.reconcile.trace_requests import TraceRequests
from mcrelay.storage.state_dir import StateDirectory
from mcrelay.supervisor.boot_clock import read_boot_time
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.control_process import ControlProcess
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.file_watch.watcher import Watcher
from mcrelay.supervisor.host_routing import HostRouting
from mcrelay.supervisor.kernel_plane import KernelDataPlane
from mcrelay.supervisor.listener import ControlListener, listen
from mcrelay.supervisor.loop import Supervisor
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.presence import Presence
from mcrelay.supervisor.privileged import User, group_of_clients
from mcrelay.supervisor.process_watch import ProcessWatch
from mcrelay.supervisor.run_dir_name import RunDirName
from mcrelay.supervisor.signals import Signals
from mcrelay.supervisor.snapshot import SnapshotBuilder
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.systemd import Notifier
from mcrelay.supervisor.trace_rings import TraceRings
from mcrelay.supervisor.workers import Workers


@dataclass(frozen=True, slots=True)
class DaemonPaths:
    """The configuration file, and the directories that belong to one daemon."""

    config: Path
    run_dir: Path
    state_dir: Path


@contextmanager
def build(
    paths: DaemonPaths,
    may_watch: bool,
    user: User | None,
    signals: Signals,
    lock_descriptor: int,
    run_dir_name: RunDirName,
    log_loss: Callable[[], str],
) -> Iterator[Supervisor]:
    """Load the configuration, listen for clients, and yield a supervisor that is ready to run.

    `lock_descriptor` and `run_dir_name` hold the locks of the run directory; children run as `user`, None for
    the user of this process; `log_loss` returns what the log could not tell yet. Raises ConfigError; and
    RunDirBusyError if the control socket cannot be created.
    """
    notifier = Notifier()
    state_directory = StateDirectory(paths.state_dir)
    state_directory.open()
    configuration = Configuration(paths.config, notifier, state_directory, may_watch)
    configuration.load(read_boot_time())
    with listen(paths.run_dir, group_of_clients(), lock_descriptor) as listener:
        yield assemble(
            configuration,
            user,
            paths.run_dir,
            listener,
            run_dir_name,
            signals,
            notifier,
            log_loss,
            Presence(),
        )


def assemble(
    configuration: Configuration,
    user: User | None,
    run_dir: Path,
    listener: ControlListener,
    run_dir_name: RunDirName,
    signals: Signals,
    notifier: Notifier,
    log_loss: Callable[[], str],
    presence: Presence | None = None,
) -> Supervisor:
    """Return a supervisor for a configuration that is loaded and a run directory with a control socket."""
    poller, reconciler, sockets = Poller(), Reconciler(), Sockets()
    counter_rows, trace_rings, trace_requests = CounterRows(), TraceRings(), TraceRequests()
    kernel = KernelDataPlane(run_dir, reconciler, sockets, counter_rows)
    workers = Workers(user, poller, reconciler, sockets, counter_rows, trace_rings)
    return Supervisor(
        configuration=configuration,
        run_dir=run_dir,
        run_dir_name=run_dir_name,
        signals=signals,
        notifier=notifier,
        poller=poller,
        reconciler=reconciler,
        sockets=sockets,
        routing=HostRouting(),
        counter_rows=counter_rows,
        trace_rings=trace_rings,
        trace_requests=trace_requests,
        workers=workers,
        kernel=kernel,
        control=ControlProcess(user, poller, listener, configuration.reloads, trace_requests, presence),
        process_watch=ProcessWatch(poller, reconciler, workers, sockets, counter_rows),
        snapshot=SnapshotBuilder(
            run_dir, configuration, reconciler, counter_rows, log_loss, lambda: kernel.obstacle
        ),
        watcher=Watcher(configuration.path),
    )
