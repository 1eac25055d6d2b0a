"""A supervisor among fakes of the kernel, the worker processes, the links and the clock.

Its loop, bookkeeping of sockets, counters, files and directories are the real ones.
"""

import errno
import itertools
import os
import signal
from dataclasses import dataclass, field
from types import SimpleNamespace

from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.model.actions import applied
from mcrelay.model.links import LinkTable
from mcrelay.model.routes import RouteAnswers
from mcrelay.model.state import RunningState, WorkerState
from mcrelay.protocol.framing import PROCESS_PROTOCOL, Hello
from mcrelay.protocol.worker import Acknowledged, decode_batch
from mcrelay.reconcile.lifecycle import Process
from mcrelay.reconcile.placement import NO_KERNEL
from mcrelay.reload.trial import BootTime
from mcrelay.storage import config_files, request_file
from mcrelay.storage.run_dir import CONTROL_SOCKET
from mcrelay.storage.state_dir import StateDirectory
from mcrelay.supervisor import (
    daemon,
    kernel_plane,
    loop,
    process_watch,
    return_ports,
    sockets,
    timers,
    workers,
)
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.snapshot import ProcessInfo

GROUPS_A_SOCKET = 2
_serials = itertools.count(1)


class FakeSocket:
    """A socket with a serial number that no other one has."""

    def __init__(self, kernel, kind, purpose=None):
        self.serial = next(_serials)
        self.kind, self.purpose = kind, purpose
        self.groups = set()
        self._kernel = kernel
        kernel.open.add(self)

    def fileno(self):
        return 3

    def getsockname(self):
        return "", self.purpose

    def close(self):
        self._kernel.open.remove(self)  # raises KeyError at a second close


@dataclass
class FakeKernel:
    """The calls of privileged.py. They fail where the kernel would let them fail."""

    ANY_ADDRESS = "0.0.0.0"

    links: LinkTable
    open: set = field(default_factory=set)

    def _has(self, ifindex):
        return any(link.ifindex == ifindex for link in self.links.links.values())

    def open_ring(self, ingress):
        return self._on(ingress.ifindex, "ring", ingress)

    def open_egress(self, egress, port=None):
        return self._on(egress.ifindex, "egress", egress)

    def _on(self, ifindex, kind, purpose):
        if not self._has(ifindex):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return FakeSocket(self, kind, purpose)

    def share_packets(self, ring, fanout):
        return 7

    def attach(self, sock, program):
        assert sock in self.open

    def open_return_socket(self, port, address):
        if port == 0:
            return FakeSocket(self, "return", f"of any port {next(_serials)}")
        assert port not in self.purposes("hold"), "a port is bound twice"
        return FakeSocket(self, "hold", port)

    def reserve_for_ourselves(self, sending, returning):
        assert {sending, returning} <= self.open

    def join_socket(self):
        return FakeSocket(self, "join")

    def join(self, sock, membership):
        if len(sock.groups) == GROUPS_A_SOCKET:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        if not self._has(membership.ifindex):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        assert membership not in self.memberships, "a group is joined twice"
        sock.groups.add(membership)

    def leave(self, sock, membership):
        if not self._has(membership.ifindex):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        sock.groups.remove(membership)

    def purposes(self, kind):
        return {sock.purpose for sock in self.open if sock.kind == kind}

    def serials(self, kind):
        return {sock.purpose: sock.serial for sock in self.open if sock.kind == kind}

    @property
    def memberships(self):
        return {one for sock in self.open for one in sock.groups if self._has(one.ifindex)}


class FakeRouting:
    """A host that routes every output through its device, to neighbours that answer."""

    route_monitor = neighbour_monitor = None

    def find(self, config, links):
        return RouteAnswers()

    follow = find

    def update(self, config, links):
        return False

    def links_changed(self):
        pass

    def next_deadline(self):
        return None


class FakeChild:
    """A worker that applies its batches to a WorkerState."""

    pids = itertools.count(5000)

    def __init__(self, number):
        self.number, self.pid, self.started = number, next(self.pids), 0.0
        self.channel = SimpleNamespace(send=self._send, has_unsent=False)
        self.has = WorkerState()
        self.batches = []
        self.is_greeted = self.is_stopping = self.is_killed = self.is_stopped = False

    def _send(self, text, descriptors):
        self.batches.append(decode_batch(text))

    def stop(self):
        self.is_stopping = True

    def kill(self, reason):
        self.is_killed = True

    def carry_out(self):
        batch = self.batches.pop(0)
        actions = [instruction.action for instruction in batch.instructions]
        self.has = applied(RunningState({self.number: self.has}), actions).workers[self.number]
        return Acknowledged(batch.number)


class FakePoller:
    """Keeps what handles the messages and the exit of each child."""

    def __init__(self):
        self.children = []
        self.handlers = {}

    def watch(self, source, on_readable):
        pass

    def connect(self, child, on_message, on_exit):
        self.children.append(child)
        self.handlers[child] = on_message, on_exit


class FakeControlProcess:
    """A control process that keeps the last snapshot and sends nothing."""

    is_ready, has_unsent = True, False

    def __init__(self, *_):
        self.snapshot = {}

    @property
    def has_snapshot(self):
        return bool(self.snapshot)

    def keep_alive(self, now):
        pass

    def next_deadline(self):
        return None

    def info(self):
        return ProcessInfo("control", "control", Process(), None)

    def send_snapshot(self, snapshot, memories, segments):
        self.snapshot = snapshot


class FakeWatcher:
    """Finds the files changed whenever it checks them."""

    due = None

    def __init__(self, path):
        self._path = path

    def switch(self, on):
        pass

    def check(self):
        return config_files.read_stamps(self._path)


class FakeName:
    """A name of the run directory for which no other daemon asks."""

    def discard_connections(self):
        pass


class FakeNotifier:
    """Keeps the states of a service that systemd would get."""

    watchdog_interval = due = None

    def __init__(self):
        self.states = []

    def send_unsent(self):
        pass

    def reloading(self):
        pass

    def ready(self, status):
        self.states.append(status)


def refuse_kernel_plane(run_dir):
    raise KernelPlaneUnavailable(NO_KERNEL.missing)


class Stage:
    """A supervisor whose files are in `folder`, with methods for the events that happen to it."""

    def __init__(self, folder, links, monkeypatch, now=None):
        self.folder, self.file = folder, folder / "mcrelay.yaml"
        self.now = now or BootTime("boot 0", 1000.0, 1_795_000_000.0)
        self.links = links
        self._lock = None
        self.supervisor = None
        (folder / "run").mkdir()
        (folder / "run" / CONTROL_SOCKET).touch()
        self._monkeypatch = monkeypatch

    def act(self):
        """Let the modules of the supervisor use the fakes of this stage; of several stages, one is active."""
        clock = SimpleNamespace(monotonic=lambda: self.now.seconds)
        fakes = {
            (daemon, "Poller"): FakePoller,
            (daemon, "ControlProcess"): FakeControlProcess,
            (daemon, "Watcher"): FakeWatcher,
            (daemon, "HostRouting"): FakeRouting,
            (kernel_plane, "find_directory"): refuse_kernel_plane,
            (kernel_plane, "remove_left_over"): lambda run_dir: None,
            (loop, "read_links"): lambda: self.links,
            (loop, "read_boot_time"): lambda: self.now,
            (loop, "time"): clock,
            (workers, "time"): clock,
            (workers, "start_worker"): lambda number, user, memory: FakeChild(number),
            (sockets, "privileged"): self.kernel,
            (return_ports, "privileged"): self.kernel,
            (return_ports, "socket_filters"): SimpleNamespace(
                attach=self.kernel.attach, NOTHING=None, UDP_HEADERS=None
            ),
            (sockets, "find_readable"): lambda rings: set(),
            (process_watch, "time"): clock,
            (sockets, "socket_filters"): SimpleNamespace(attach=self.kernel.attach, any_udp=lambda _: None),
            (os, "fsync"): lambda descriptor: None,  # which would only cost time
        }
        for (module, name), fake in fakes.items():
            self._monkeypatch.setattr(module, name, fake)

    # Events.

    def start(self):
        """Start a supervisor; one that runs before is dead then. Raises ConfigError."""
        self._release()
        self.kernel = FakeKernel(self.links)
        self.act()
        self.systemd, state_directory = FakeNotifier(), StateDirectory(self.folder / "state")
        state_directory.open()
        self._lock = state_directory._lock
        self.configuration = Configuration(self.file, self.systemd, state_directory)
        self.configuration.load(self.now)
        self.signals = SimpleNamespace()
        self.supervisor = daemon.assemble(
            self.configuration, None, self.folder / "run", None, FakeName(), self.signals, self.systemd, str
        )
        self.supervisor._read_links()
        self.supervisor._apply_configuration()
        self.turn()

    def reload(self):
        self._signal(signal.SIGHUP)

    def request(self, request):
        request_file.write(self.folder / "run", request, os.geteuid())
        self._signal(signal.SIGUSR2)

    def _signal(self, number):
        self.signals.read = lambda: bytes([number])
        self.supervisor._handle_signals()
        self.turn()

    def look(self):
        self.supervisor._check_files()
        self.turn()

    def change_links(self, links):
        self.links = self.kernel.links = links
        self.supervisor._read_links()
        self.turn()

    def wait(self, seconds):
        self.now = self.now.later(seconds)
        timers.run_due(self.supervisor._timers, self.now.seconds)
        self.turn()

    def kill_worker(self, child):
        self._exit(child, "killed by SIGKILL")
        self.turn()

    def speak(self, child):
        """Let a worker do the next thing that is due; return whether there was one."""
        on_message, _ = self.board.handlers[child]
        if child.is_stopping or child.is_killed:
            self._exit(child, "exit status 0")
        elif not child.is_greeted:
            child.is_greeted = True
            on_message(Hello(PROCESS_PROTOCOL))
        elif child.batches:
            on_message(child.carry_out())
        else:
            return False
        self.turn()
        return True

    def settle(self):
        """Let workers act, and time pass when no worker has anything to do, until no deadline is left."""
        for _ in range(1000):
            if any(self.speak(child) for child in list(self.board.children)):
                continue
            deadline = self.supervisor.reconciler.next_deadline()
            if deadline is None:
                return
            self.wait(max(0.0, deadline - self.now.seconds))
        raise AssertionError("the supervisor does not settle")

    def turn(self):
        """Run turns of the loop until it would wait."""
        for _ in range(10):
            self.supervisor.turn()
            if not self.supervisor.reconciler.has_unseen_events:
                return
        raise AssertionError("the loop never waits")

    def _exit(self, child, how):
        _, on_exit = self.board.handlers.pop(child)
        self.board.children.remove(child)
        on_exit(how)

    def close(self):
        """Close the descriptors that the death of a process would close."""
        self._release()

    def _release(self):
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self.supervisor is not None:
            memories = self.supervisor.counter_rows.memories
            while memories:
                memories.popitem()[1].shared.close()

    # State.

    @property
    def board(self):
        return self.supervisor.poller

    @property
    def snapshot(self):
        return self.supervisor.control.snapshot

    @property
    def forwarding(self):
        """The state of each worker."""
        return {child.number: child.has for child in self.board.children}

    @property
    def running(self):
        """All that the host shows of the relay: forwarding, memberships, rings, ports, egress sockets."""
        rings, egress, ports = (self.kernel.purposes(kind) for kind in ("ring", "egress", "hold"))
        inputs = ports - {one.source_port for one in egress}
        return self.forwarding, self.kernel.memberships, rings, inputs, egress
