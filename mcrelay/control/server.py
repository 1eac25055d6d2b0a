"""The loop of the control process: messages of the supervisor and requests of clients, each in turn."""

from __future__ import annotations

import gc
import selectors
import socket
import time
from functools import partial
from typing import NoReturn

from mcrelay.control.clients import Clients
from mcrelay.control.connection import Connection
from mcrelay.control.kernel_counters import KernelCounterMemory
from mcrelay.control.methods import Methods
from mcrelay.control.other_daemons import OtherDaemons
from mcrelay.control.reload_marks import ReloadMarks
from mcrelay.control.reload_waits import ReloadWaits
from mcrelay.control.trace_sessions import TraceSessions
from mcrelay.ipc.channel import NonBlockingChannel
from mcrelay.ipc.heartbeat import HeartbeatWriter
from mcrelay.ipc.shared_memory import map_read_only
from mcrelay.linux.process_usage import read_usage
from mcrelay.model.counters import COUNTERS_SIZE
from mcrelay.model.state import KERNEL
from mcrelay.protocol.control import (
    Counters,
    KernelCounters,
    MarkAnswer,
    SetListener,
    SetOtherDaemons,
    SnapshotChanged,
    ToControl,
    ToSupervisor,
    TraceState,
    decode_to_control,
    encode_to_supervisor,
)
from mcrelay.protocol.framing import PROCESS_PROTOCOL, Hello
from mcrelay.protocol.relayed_flows import OtherDaemon
from mcrelay.status.documents import Documents, Now
from mcrelay.status.rates import CounterReader
from mcrelay.status.replica import SnapshotReplica

BEAT_S = 1.25  # between two samples of the counters, heartbeats and searches for what is overdue


class Server:
    """The process that answers clients."""

    def __init__(self, channel: NonBlockingChannel) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._counters = CounterReader(lambda rows: self._kernel_counters.refresh(rows))
        self._kernel_counters = KernelCounterMemory(partial(self._counters.add, KERNEL))
        self._snapshot = SnapshotReplica(self._counters)
        self._documents = Documents(self._snapshot, self._counters, read_usage)
        self._marks = ReloadMarks(self._request)
        self._waits = ReloadWaits(self._snapshot.reload_results)
        self._traces = TraceSessions(self._request, self._snapshot.devices)
        methods = Methods(self._snapshot, self._documents, self._marks, self._waits, self._traces)
        self._clients = Clients(self._selector, methods, self._client_gone)
        self._others = OtherDaemons(self._describe, self._documents.duplicates_changed)
        self._listener: socket.socket | None = None
        self._heartbeat = HeartbeatWriter()
        self._next_beat = time.monotonic() + BEAT_S

    def run(self) -> NoReturn:
        """Answer clients until the supervisor ends; raises ChannelClosed."""
        self._selector.register(self._channel.socket, selectors.EVENT_READ, self._handle_channel)
        self._request(Hello(PROCESS_PROTOCOL))
        while True:
            self.turn(self._timeout())

    def turn(self, timeout: float) -> None:
        """Wait for events, `timeout` seconds at most, and handle them and what is due."""
        self._watch_channel()
        for key, events in self._selector.select(timeout):
            key.data(events)
        now = read_clocks()
        self._clients.serve(now)
        self._marks.ask_when_due(now.monotonic)
        if self._next_beat <= now.monotonic:
            self._next_beat = now.monotonic + BEAT_S
            self._documents.sample(now)
            self._heartbeat.beat()
            self._others.exchange(self._snapshot.section("daemon").get("trusted_uids", ()))
            self._traces.expire(now.monotonic)
            self._waits.expire(now.monotonic)
            self._clients.close_overdue(now.monotonic)
            self._clients.resume_accepting()

    def _timeout(self) -> float:
        if self._clients.has_request:
            return 0.0
        soonest = self._next_beat if self._marks.due is None else min(self._next_beat, self._marks.due)
        return max(0.0, soonest - time.monotonic())

    def _watch_channel(self) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._channel.has_unsent else 0)
        self._selector.modify(self._channel.socket, wanted, self._handle_channel)

    def _handle_channel(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._channel.flush()
        if events & selectors.EVENT_READ:
            for text, descriptors in self._channel.receive():
                self._handle(decode_to_control(text), descriptors, read_clocks())

    def _request(self, request: ToSupervisor) -> None:
        self._channel.send(encode_to_supervisor(request))

    def _handle(self, message: ToControl, descriptors: list[int], now: Now) -> None:
        match message:
            case SetListener():
                listener, heartbeat = descriptors
                self._listener = socket.socket(fileno=listener)
                self._heartbeat.write_to(heartbeat)
                self._accept_clients()
            case SetOtherDaemons():
                first, *others = (socket.socket(fileno=descriptor) for descriptor in descriptors)
                self._others.connect(first, others)
            case Counters(worker):
                [memory] = descriptors
                self._counters.add(worker, map_read_only(memory, COUNTERS_SIZE))
            case KernelCounters():
                [memory] = descriptors
                self._kernel_counters.include(message, memory)
            case SnapshotChanged(sections):
                self._documents.apply_delta(sections, now)
                self._others.snapshot_changed()
                if "rules" in sections:
                    gc.freeze()  # the garbage collector need not search 10,000 rules again and again
                self._accept_clients()
                if "reload" in sections:
                    self._waits.answer()
            case MarkAnswer(mark, begun):
                self._marks.answered(mark, begun, now.monotonic)
            case TraceState():
                self._traces.state_changed(message, descriptors)

    def _describe(self) -> OtherDaemon:
        """Return what other daemons of the host are told of this one."""
        daemon = self._snapshot.section("daemon")
        return OtherDaemon(daemon.get("pid", 0), daemon.get("config", ""), self._snapshot.relayed_flows())

    def _client_gone(self, client: Connection) -> None:
        self._waits.client_gone(client)
        self._traces.client_gone(client)

    def _accept_clients(self) -> None:
        """Accept clients once there is a whole snapshot to show; they wait in the socket's queue."""
        if self._listener is not None and self._snapshot.is_complete:
            self._clients.listen(self._listener)
            self._listener = None


def read_clocks() -> Now:
    """Return the time."""
    return Now(time.monotonic(), time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
