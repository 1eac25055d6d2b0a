"""The control process from the supervisor's side: started, watched, and told what there is."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mcrelay.ipc.heartbeat import HeartbeatReader
from mcrelay.protocol.control import (
    Counters,
    Mark,
    MarkAnswer,
    SetListener,
    SnapshotChanged,
    ToControl,
    ToSupervisor,
    TraceRule,
    TraceState,
    encode_to_control,
)
from mcrelay.protocol.framing import PROTOCOL, Hello, WireError
from mcrelay.protocol.snapshot import delta, split_delta
from mcrelay.reconcile.lifecycle import TIMEOUT_S, Phase, Process
from mcrelay.reconcile.trace_requests import TraceRequests
from mcrelay.reload.results import Reloads
from mcrelay.supervisor.children import Child, start_control, why_not
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.listener import ControlListener
from mcrelay.supervisor.poller import Poller
from mcrelay.supervisor.privileged import User
from mcrelay.supervisor.snapshot import ProcessInfo

log = logging.getLogger("mcrelay")

MOST_WAITING = 64 << 20  # octets that may wait for it


class ControlProcess:
    """The process that answers clients, and its successors."""

    def __init__(
        self,
        user: User | None,
        switchboard: Poller,
        listener: ControlListener,
        reloads: Reloads,
        traced: TraceRequests,
    ) -> None:
        self.process = Process()
        self.child: Child[ToSupervisor] | None = None
        self.is_outdated = True
        """Whether something may be other than it was told."""
        self._user = user
        self._switchboard = switchboard
        self._listener = listener
        self._reloads = reloads
        self._traced = traced
        self._told: dict[str, Any] = {}
        self._memories_told: set[int] = set()
        self._behind_since: float | None = None
        self._pulse = HeartbeatReader()

    def keep_alive(self, now: float) -> None:
        """Start it when it is due, and end it when it does not do what it should."""
        if self._listener.reopen_if_removed() and self.is_listening:
            self._let_in()
        if self.child is None:
            if self.process.may_start(now):
                self._start(now)
            return
        waiting = self.child.channel.unsent_bytes
        self._behind_since = (self._behind_since or now) if waiting else None
        if self.process.is_overdue(now):
            self.child.kill("it did not start in time")
        elif waiting > MOST_WAITING or (self._behind_since or now) <= now - TIMEOUT_S:
            self.child.kill("it does not listen to the supervisor")
        elif self._has_no_pulse(now):
            self.child.kill(f"it did nothing for {TIMEOUT_S:g} s")

    def next_deadline(self) -> float | None:
        """Return when `keep_alive` has something to do although nothing happens; None where it never has."""
        if self.child is None:
            return self.process.start_not_before
        if self.process.is_under_way:
            return self.process.deadline
        since = [one for one in (self._behind_since, self._pulse.silent_since) if one is not None]
        return min(since) + TIMEOUT_S if since else None

    @property
    def is_listening(self) -> bool:
        """Whether it said hello, so that it can be told what there is."""
        return self.process.phase is Phase.IDLE

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be told, with the descriptors that go with it."""
        return self.child is not None and self.child.channel.has_unsent

    def member(self) -> ProcessInfo:
        """Return what clients see of it."""
        return ProcessInfo("control", "control", self.process, self.child)

    def tell(self, picture: Mapping[str, Any], memories: Mapping[int, CounterMemory]) -> None:
        """Tell what is new of the picture and of the workers' memories."""
        self.is_outdated = False
        for worker in memories.keys() - self._memories_told:
            self._memories_told.add(worker)
            self._say(Counters(worker), [memories[worker].shared.for_reading])
        if edits := delta(self._told, picture):
            self._told = dict(picture)
            for part in split_delta(edits):
                self._say(SnapshotChanged(part))

    def tell_of_trace(self, tracing: TraceState, rings: Sequence[int]) -> None:
        """Tell that a rule is traced, with the descriptors of its rings, or why it is not."""
        self._say(tracing, rings)

    def stop(self) -> None:
        """Let it end."""
        if self.child is not None:
            self.process.begin(Phase.ENDING, time.monotonic())
            self.child.stop()

    def _start(self, now: float) -> None:
        self.process.begin(Phase.STARTING, now)
        try:
            self.child = child = start_control(self._user)
        except OSError as error:
            log.warning("cannot start the control process: %s", why_not(error))
            self.process.exited(now, f"it cannot start: {why_not(error)}")
            return
        self._switchboard.connect(child, self._heard, self._exited)
        log.info("the control process is process %d", child.pid)

    def _heard(self, request: ToSupervisor) -> None:
        match request:
            case Hello(protocol) if protocol == PROTOCOL and self.process.said_hello(time.monotonic()):
                self._let_in()
                self.is_outdated = True
            case Hello(protocol):
                raise WireError(f"it said hello with protocol {protocol}, not once with {PROTOCOL}")
            case _ if not self.is_listening:
                raise WireError("it did not say hello first")
            case Mark(mark):
                self._say(MarkAnswer(mark, self._reloads.begun))
            case TraceRule(rule, wanted):
                self._traced.request(rule, wanted)

    def _let_in(self) -> None:
        """Let it answer whoever knocks, and show from now on that it does."""
        self._say(SetListener(), [self._listener.fileno(), self._pulse.fileno()])

    def _has_no_pulse(self, now: float) -> bool:
        """Look whether it does anything at all; nobody wakes up for that where all is well."""
        if not self.is_listening:
            return False
        self._pulse.check(now)
        return self._pulse.silent_since is not None and self._pulse.silent_since <= now - TIMEOUT_S

    def _say(self, news: ToControl, descriptors: Sequence[int] = ()) -> None:
        assert self.child is not None
        self.child.channel.send(encode_to_control(news), descriptors)

    def _exited(self, how: str) -> None:
        assert self.child is not None
        if self.child.is_to_end:
            log.info("the control process (process %d) has ended", self.child.pid)
        else:
            log.warning("the control process (process %d) died: %s; it comes back", self.child.pid, how)
        self.child, self._behind_since = None, None
        self._pulse.reset()
        self._told, self._memories_told = {}, set()
        self.process.exited(time.monotonic(), how)
        self._traced.forget_all()
