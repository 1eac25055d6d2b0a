"""A supervisor as it is, on a stage: the kernel, its workers' processes, the links and the clock are made up.

Its loop, its sockets by what they are for, its counters, its files and its directories are the real ones.
"""

import errno
import itertools
import os
import signal
from dataclasses import dataclass, field
from types import SimpleNamespace

from mcrelay.model.actions import applied
from mcrelay.model.links import LinkTable
from mcrelay.model.state import RunningState, WorkerState
from mcrelay.protocol.framing import PROTOCOL, Hello
from mcrelay.protocol.worker import Acknowledged, decode_batch
from mcrelay.reconcile.lifecycle import Process
from mcrelay.reload.trial import BootTime
from mcrelay.storage import config_files, request_file
from mcrelay.storage.run_dir import CONTROL_SOCKET
from mcrelay.storage.state_dir import StateDirectory
from mcrelay.supervisor import loop, sockets, workers
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.snapshot import ProcessInfo

GROUPS_A_SOCKET = 2
_serials = itertools.count(1)


class FakeSocket:
    """A socket that the kernel gave; no two have one serial number."""

    def __init__(self, kernel, kind, purpose=None):
        self.serial = next(_serials)
        self.kind, self.purpose = kind, purpose
        self.groups = set()
        self._kernel = kernel
        kernel.open.add(self)

    def fileno(self):
        return 3

    def close(self):
        self._kernel.open.remove(self)  # and not twice


@dataclass
class FakeKernel:
    """What privileged.py asks of the kernel. It refuses what the kernel refuses."""

    links: LinkTable
    open: set = field(default_factory=set)

    def _has(self, ifindex):
        return any(link.ifindex == ifindex for link in self.links.links.values())

    def open_ring(self, ingress):
        return self._on(ingress.ifindex, "ring", ingress)

    def open_egress(self, egress):
        return self._on(egress.ifindex, "egress", egress)

    def _on(self, ifindex, kind, purpose):
        if not self._has(ifindex):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return FakeSocket(self, kind, purpose)

    def share_packets(self, ring, fanout):
        return 7

    def attach(self, sock, program):
        assert sock in self.open

    def hold_port(self, hold):
        assert hold not in self.purposes("hold"), "nobody holds a port twice"
        return FakeSocket(self, "hold", hold)

    def join_socket(self):
        return FakeSocket(self, "join")

    def join(self, sock, membership):
        if len(sock.groups) == GROUPS_A_SOCKET:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        if not self._has(membership.ifindex):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        assert membership not in self.memberships, "nobody joins twice"
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


class FakeChild:
    """A worker: what it has is what its batches say."""

    pids = itertools.count(5000)

    def __init__(self, number):
        self.number, self.pid, self.started = number, next(self.pids), 0.0
        self.channel = SimpleNamespace(send=self._send, has_unsent=False)
        self.has = WorkerState()
        self.batches = []
        self.is_greeted = self.is_to_end = self.is_killed = False

    def _send(self, text, descriptors):
        self.batches.append(decode_batch(text))

    def stop(self):
        self.is_to_end = True

    def kill(self, reason):
        self.is_killed = True

    def carry_out(self):
        batch = self.batches.pop(0)
        actions = [instruction.action for instruction in batch.instructions]
        self.has = applied(RunningState({self.number: self.has}), actions).workers[self.number]
        return Acknowledged(batch.number)


class FakePoller:
    """Knows whom to tell what the children say."""

    def __init__(self):
        self.children = []
        self.listeners = {}

    def watch(self, source, happened):
        pass

    def connect(self, child, heard, exited):
        self.children.append(child)
        self.listeners[child] = heard, exited


class FakeControlProcess:
    """A control process that hears everything and says nothing."""

    is_listening, is_behind, is_outdated = True, False, True

    def __init__(self, *_):
        self.picture = {}

    def keep_alive(self, now):
        pass

    def next_deadline(self):
        return None

    def member(self):
        return ProcessInfo("control", "control", Process(), None)

    def tell(self, picture, memories):
        self.is_outdated = False
        self.picture = picture


class FakeWatcher:
    """Sees the files when it is told to look."""

    due = None

    def __init__(self, path):
        self._path = path

    def switch(self, on):
        pass

    def look(self):
        return config_files.read_stamps(self._path)


class Systemd:
    """What systemd would be told."""

    watchdog_pause = None

    def __init__(self):
        self.said = []

    def reloading(self):
        pass

    def ready(self, status):
        self.said.append(status)


class Stage:
    """A supervisor that runs on `folder`, and what happens to it."""

    def __init__(self, folder, links, monkeypatch, now=None):
        self.folder, self.file = folder, folder / "mcrelay.yaml"
        self.now = now or BootTime("boot 0", 1000.0, 1_795_000_000.0)
        self.links = links
        self._lock = None
        (folder / "run").mkdir()
        (folder / "run" / CONTROL_SOCKET).touch()
        self._monkeypatch = monkeypatch

    def act(self):
        """Make this the stage on which the supervisor's modules play: there may be several, one at a time."""
        clock = SimpleNamespace(monotonic=lambda: self.now.seconds)
        fakes = {
            (loop, "Poller"): FakePoller,
            (loop, "ControlProcess"): FakeControlProcess,
            (loop, "Watcher"): FakeWatcher,
            (loop, "read_links"): lambda: self.links,
            (loop, "moment"): lambda: self.now,
            (loop, "time"): clock,
            (workers, "time"): clock,
            (workers, "start_worker"): lambda number, user, memory: FakeChild(number),
            (sockets, "privileged"): self.kernel,
            (sockets, "socket_filters"): SimpleNamespace(attach=self.kernel.attach, ANY_UDP=None),
            (os, "fsync"): lambda descriptor: None,  # no power fails here
        }
        for (module, name), fake in fakes.items():
            self._monkeypatch.setattr(module, name, fake)

    # What happens.

    def start(self):
        """Start the supervisor, after the death of the one before if there was one; raises Invalid."""
        self.kernel = FakeKernel(self.links)
        self.act()
        self.systemd, archive = Systemd(), StateDirectory(self.folder / "state")
        if self._lock is not None:
            os.close(self._lock)
        archive.open()
        self._lock = archive._lock
        self.configuration = Configuration(self.file, self.systemd, archive)
        self.configuration.load(self.now)
        self.signals = SimpleNamespace()
        self.supervisor = loop.Supervisor(
            self.configuration, None, self.folder / "run", None, self.signals, self.systemd
        )
        self.supervisor._read_links()
        self.supervisor._accepted()
        self.turn()

    def reload(self):
        self._signal(signal.SIGHUP)

    def request(self, request):
        request_file.write(self.folder / "run", request, os.geteuid())
        self._signal(signal.SIGUSR2)

    def _signal(self, number):
        self.signals.arrived = lambda: bytes([number])
        self.supervisor._signalled()
        self.turn()

    def look(self):
        self.supervisor._look_at_the_files()
        self.turn()

    def change_links(self, links):
        self.links = self.kernel.links = links
        self.supervisor._read_links()
        self.turn()

    def wait(self, seconds):
        self.now = self.now.later(seconds)
        self.supervisor._look_at_the_trial()
        self.turn()

    def kill_worker(self, child):
        self._exit(child, "killed by SIGKILL")
        self.turn()

    def speak(self, child):
        """Let a worker do the next thing that it would; tell whether there was one."""
        heard, _ = self.board.listeners[child]
        if child.is_to_end or child.is_killed:
            self._exit(child, "exit status 0")
        elif not child.is_greeted:
            child.is_greeted = True
            heard(Hello(PROTOCOL))
        elif child.batches:
            heard(child.carry_out())
        else:
            return False
        self.turn()
        return True

    def settle(self):
        """Let everybody do what he would, and time pass while nobody would do anything, until all is done."""
        for _ in range(1000):
            if any(self.speak(child) for child in list(self.board.children)):
                continue
            deadline = self.supervisor._reconciler.next_deadline()
            if deadline is None:
                return
            self.wait(max(0.0, deadline - self.now.seconds))
        raise AssertionError("it does not come to rest")

    def turn(self):
        """Turn the loop until it would wait."""
        for _ in range(10):
            self.supervisor.turn()
            if not self.supervisor._reconciler.has_unseen_events:
                return
        raise AssertionError("the loop turns for ever")

    def _exit(self, child, how):
        _, exited = self.board.listeners.pop(child)
        self.board.children.remove(child)
        exited(how)

    def close(self):
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)

    # What there is.

    @property
    def board(self):
        return self.supervisor._switchboard

    @property
    def picture(self):
        return self.supervisor._control.picture

    @property
    def forwarding(self):
        """What each worker has."""
        return {child.number: child.has for child in self.board.children}

    @property
    def running(self):
        """All that the host would show of the relay: sockets, memberships, and what its workers forward."""
        rings, egress, holds = (self.kernel.purposes(kind) for kind in ("ring", "egress", "hold"))
        return self.forwarding, self.kernel.memberships, rings, holds, egress
