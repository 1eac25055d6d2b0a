"""The control process's loop: what the supervisor tells, what clients ask, each in turn."""

from __future__ import annotations

import gc
import selectors
import socket
import time
from typing import NoReturn

from mcrelay.control.clients import Clients
from mcrelay.control.connection import Connection
from mcrelay.control.methods import Methods
from mcrelay.control.reload_marks import ReloadMarks
from mcrelay.control.reload_waits import ReloadWaits
from mcrelay.control.trace_sessions import TraceSessions
from mcrelay.ipc.channel import NonBlockingChannel
from mcrelay.ipc.heartbeat import HeartbeatWriter
from mcrelay.ipc.shared_memory import map_read_only
from mcrelay.linux.process_usage import read_usage
from mcrelay.model.counters import MEMORY_SIZE
from mcrelay.protocol.control import (
    Counters,
    MarkAnswer,
    SetListener,
    SnapshotChanged,
    ToControl,
    ToSupervisor,
    TraceState,
    decode_to_control,
    encode_to_supervisor,
)
from mcrelay.protocol.framing import PROTOCOL, Hello
from mcrelay.status.documents import Documents, Now
from mcrelay.status.rates import CounterReader
from mcrelay.status.replica import SnapshotReplica

BEAT = 1.25  # seconds between two samples of the counters, and two looks at what is overdue


class Server:
    """The process that answers clients."""

    def __init__(self, channel: NonBlockingChannel) -> None:
        self._channel = channel
        self._selector = selectors.DefaultSelector()
        self._counters = CounterReader()
        self._snapshot = SnapshotReplica(self._counters)
        self._documents = Documents(self._snapshot, self._counters, read_usage)
        self._marks = ReloadMarks(self._request)
        self._waits = ReloadWaits(self._snapshot.reload_results)
        self._traces = TraceSessions(self._request, self._snapshot.devices)
        methods = Methods(self._snapshot, self._documents, self._marks, self._waits, self._traces)
        self._clients = Clients(self._selector, methods, self._client_gone)
        self._listener: socket.socket | None = None
        self._pulse = HeartbeatWriter()
        self._next_beat = time.monotonic() + BEAT

    def run(self) -> NoReturn:
        """Answer clients until the supervisor ends; raises ChannelClosed."""
        self._selector.register(self._channel.socket, selectors.EVENT_READ, self._told)
        self._request(Hello(PROTOCOL))
        while True:
            self.turn(self._pause())

    def turn(self, timeout: float) -> None:
        """Wait for something to do, `timeout` seconds at the most, and do it."""
        self._watch_for_room()
        for key, events in self._selector.select(timeout):
            key.data(events)
        now = moment()
        self._clients.serve(now)
        self._marks.carry_on(now.monotonic)
        if self._next_beat <= now.monotonic:
            self._next_beat = now.monotonic + BEAT
            self._documents.sample(now)
            self._pulse.beat()
            self._traces.expire(now.monotonic)
            self._waits.expire(now.monotonic)
            self._clients.close_overdue(now.monotonic)
            self._clients.carry_on()

    def _pause(self) -> float:
        if self._clients.has_request:
            return 0.0
        soonest = self._next_beat if self._marks.due is None else min(self._next_beat, self._marks.due)
        return max(0.0, soonest - time.monotonic())

    def _watch_for_room(self) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._channel.has_unsent else 0)
        self._selector.modify(self._channel.socket, wanted, self._told)

    def _told(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._channel.flush()
        if events & selectors.EVENT_READ:
            for text, descriptors in self._channel.receive():
                self._take(decode_to_control(text), descriptors, moment())

    def _request(self, request: ToSupervisor) -> None:
        self._channel.send(encode_to_supervisor(request))

    def _take(self, news: ToControl, descriptors: list[int], now: Now) -> None:
        match news:
            case SetListener():
                listener, pulse = descriptors
                self._listener = socket.socket(fileno=listener)
                self._pulse.write_to(pulse)
                self._open()
            case Counters(worker):
                [memory] = descriptors
                self._counters.add(worker, map_read_only(memory, MEMORY_SIZE))
            case SnapshotChanged(sections):
                self._documents.change(sections, now)
                if "rules" in sections:
                    gc.freeze()  # 10,000 rules are no garbage: not to be looked through again and again
                self._open()
                if "reload" in sections:
                    self._waits.answer()
            case MarkAnswer(mark, begun):
                self._marks.answered(mark, begun, now.monotonic)
            case TraceState():
                self._traces.told(news, descriptors)

    def _client_gone(self, client: Connection) -> None:
        self._waits.client_gone(client)
        self._traces.client_gone(client)

    def _open(self) -> None:
        """Let clients in, once there is something to show to them."""
        if self._listener is not None and self._snapshot.has_content:
            self._clients.listen(self._listener)
            self._listener = None


def moment() -> Now:
    """Return the time."""
    return Now(time.monotonic(), time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
