"""Starts the control process, watches it, and sends it the snapshot that clients see."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mcrelay.ipc.heartbeat import HeartbeatReader
from mcrelay.protocol.control import (
    Counters,
    KernelCounters,
    Mark,
    MarkAnswer,
    SetListener,
    SetOtherDaemons,
    SnapshotChanged,
    ToControl,
    ToSupervisor,
    TraceRule,
    TraceState,
    encode_to_control,
)
from mcrelay.protocol.framing import Hello, WireError
from mcrelay.protocol.snapshot import compute_delta, split_delta
from mcrelay.reconcile.lifecycle import TIMEOUT_S, Phase, Process
from mcrelay.reconcile.trace_requests import TraceRequests
from mcrelay.reload.results import Reloads
from mcrelay.supervisor.children import Child, describe_start_error, start_control
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.listener import ControlListener
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.presence import Presence
from mcrelay.supervisor.privileged import User
from mcrelay.supervisor.snapshot import ProcessInfo

log = logging.getLogger("mcrelay")

MAX_UNSENT_BYTES = 64 << 20


class ControlProcess:
    """Runs the process that answers clients, and restarts it when it ends."""

    def __init__(
        self,
        user: User | None,
        poller: Poller,
        listener: ControlListener,
        reloads: Reloads,
        trace_requests: TraceRequests,
        presence: Presence | None = None,
    ) -> None:
        self.process = Process()
        self.child: Child[ToSupervisor] | None = None
        self._user = user
        self._poller = poller
        self._listener = listener
        self._reloads = reloads
        self._trace_requests = trace_requests
        self._presence = presence
        self._others: list[socket.socket] = []  # connections to other daemons, until they are sent
        self._heartbeat = HeartbeatReader()
        self._unsent_since: float | None = None
        self._sent_snapshot: dict[str, Any] = {}
        self._sent_memories: set[int] = set()
        self._sent_segments: set[KernelCounters] = set()

    def keep_alive(self, now: float) -> None:
        """Start the process when it is due, and kill it if it hangs or does not read."""
        if self._listener.reopen_if_removed() and self.is_ready:
            self._send_listener()
        if not self.has_unsent:
            self._close_others()
        if self.child is None:
            if self.process.may_start(now):
                self._start(now)
            return
        unsent = self.child.channel.unsent_bytes
        self._unsent_since = (self._unsent_since or now) if unsent else None
        if self.process.is_overdue(now):
            self.child.kill("it did not start in time")
        elif unsent > MAX_UNSENT_BYTES or (self._unsent_since or now) <= now - TIMEOUT_S:
            self.child.kill("it does not read what the supervisor sends")
        elif self._is_hanging(now):
            self.child.kill(f"it did nothing for {TIMEOUT_S:g} s")

    def next_deadline(self) -> float | None:
        """Return when to call `keep_alive` if no event comes before; None if that is not needed."""
        if self.child is None:
            return self.process.start_not_before
        if self.process.is_under_way:
            return self.process.deadline
        starts = (self._unsent_since, self._heartbeat.silent_since)
        since = [start for start in starts if start is not None]
        return min(since) + TIMEOUT_S if since else None

    @property
    def is_ready(self) -> bool:
        """Whether the process has sent its hello, so that messages can be sent to it."""
        return self.process.phase is Phase.IDLE

    @property
    def has_unsent(self) -> bool:
        """Whether messages, with their descriptors, wait to be sent."""
        return self.child is not None and self.child.channel.has_unsent

    @property
    def has_snapshot(self) -> bool:
        """Whether the process was sent a snapshot since it started."""
        return bool(self._sent_snapshot)

    def info(self) -> ProcessInfo:
        """Return the description of the process that clients see."""
        return ProcessInfo("control", "control", self.process, self.child)

    def send_snapshot(
        self,
        snapshot: Mapping[str, Any],
        memories: Mapping[int, CounterMemory],
        segments: Mapping[KernelCounters, int],
    ) -> None:
        """Send the changes since the last snapshot, and the counters of new workers and of the kernel.

        `segments` has the descriptors of the kernel's counters.
        """
        for segment in segments.keys() - self._sent_segments:
            self._sent_segments.add(segment)
            self._send(segment, [segments[segment]])
        for worker in memories.keys() - self._sent_memories:
            self._sent_memories.add(worker)
            self._send(Counters(worker), [memories[worker].shared.for_reading])
        if changed := compute_delta(self._sent_snapshot, snapshot):
            self._sent_snapshot = dict(snapshot)
            for part in split_delta(changed):
                self._send(SnapshotChanged(part))

    def send_trace_state(self, trace: TraceState, rings: Sequence[int]) -> None:
        """Send the state of a trace, with the descriptors of its rings."""
        self._send(trace, rings)

    def stop(self) -> None:
        """Let the process exit, if it runs."""
        if self.child is not None:
            self.process.begin(Phase.ENDING, time.monotonic())
            self.child.stop()

    def _start(self, now: float) -> None:
        self.process.begin(Phase.STARTING, now)
        try:
            self.child = child = start_control(self._user)
        except OSError as error:
            reason = describe_start_error(error)
            log.warning("cannot start the control process: %s", reason)
            self.process.record_exit(now, f"it cannot start: {reason}")
            return
        self._poller.connect(child, self._handle, self._exited)
        log.info("started the control process (process %d)", child.pid)

    def _handle(self, message: ToSupervisor) -> None:
        match message:
            case Hello():
                message.must_match()
                if not self.process.record_hello(time.monotonic()):
                    raise WireError("it sent hello twice; expected it once")
                self._send_listener()
                self._send_others()
            case _ if not self.is_ready:
                raise WireError("it did not send hello first")
            case Mark(mark):
                self._send(MarkAnswer(mark, self._reloads.begun))
            case TraceRule(rule, wanted):
                self._trace_requests.request(rule, wanted)

    def _send_listener(self) -> None:
        """Send the listening socket, to accept clients, and the memfd of the heartbeat."""
        self._send(SetListener(), [self._listener.fileno(), self._heartbeat.fileno()])

    def _send_others(self) -> None:
        """Send the sockets by which the daemons of the host find each other."""
        if self._presence is not None and self._presence.listener is not None:
            self._others = self._presence.connect_to_others()
            sockets = [self._presence.listener, *self._others]
            self._send(SetOtherDaemons(), [sock.fileno() for sock in sockets])

    def _close_others(self) -> None:
        while self._others:
            self._others.pop().close()

    def _is_hanging(self, now: float) -> bool:
        """Check the heartbeat; return whether the process was silent for too long.

        While the process runs as it should, the check needs no wake-up of its own.
        """
        if not self.is_ready:
            return False
        self._heartbeat.check(now)
        silent_since = self._heartbeat.silent_since
        return silent_since is not None and silent_since <= now - TIMEOUT_S

    def _send(self, message: ToControl, descriptors: Sequence[int] = ()) -> None:
        assert self.child is not None
        self.child.channel.send(encode_to_control(message), descriptors)

    def _exited(self, how: str) -> None:
        assert self.child is not None
        if self.child.is_stopping:
            log.info("the control process (process %d) has ended", self.child.pid)
        else:
            log.warning("the control process (process %d) died: %s; restarting it", self.child.pid, how)
        self.child, self._unsent_since = None, None
        self._heartbeat.reset()
        self._close_others()
        self._sent_snapshot, self._sent_memories, self._sent_segments = {}, set(), set()
        self.process.record_exit(time.monotonic(), how)
        self._trace_requests.forget_all()
