"""The traces that clients follow: which client reads the rings of which rule, from where, and until when.

A rule is traced once, however many clients follow it. Each reads the rings at its own pace. Nothing is kept
for a client: events that it does not read in time are overwritten, and counted as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from mcrelay.control.connection import Reply
from mcrelay.ipc.shared_memory import map_read_only
from mcrelay.protocol.control import TraceRule, TraceState
from mcrelay.protocol.jsonrpc import Code, RpcError
from mcrelay.tracing.format import Document, as_document
from mcrelay.tracing.ring import TRACE_RING_SIZE, Reader

LEASE_S = 10.0  # a trace that is not read for so long ends
ANSWER_TIMEOUT_S = 5.0  # for the answer of the supervisor
MAX_RULES = 16
MAX_SESSIONS_PER_CLIENT, MAX_SESSIONS = 8, 256
DEFAULT_EVENTS, MAX_EVENTS = 100, 1000  # of one answer


@dataclass(slots=True)
class _Session:
    """A trace that one client follows. `ended` says why it ended; earlier events can still be read."""

    rule: str
    client: object
    readers: dict[int, Reader]
    expires: float
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A client whose request waits for the supervisor, since a time in monotonic seconds."""

    client: object
    reply: Reply
    since: float


@dataclass(slots=True)
class _TracedRule:
    """A rule that is traced, or will be: number of the trace (0 until it is known), and rings by worker."""

    number: int = 0
    rings: dict[int, memoryview] = field(default_factory=dict)
    waiting: list[_Waiting] = field(default_factory=list)


class TraceSessions:
    """All traces. `request` sends a message to the supervisor, `devices` returns the devices by ifindex."""

    def __init__(
        self, request: Callable[[TraceRule], None], devices: Callable[[], Mapping[int, str]]
    ) -> None:
        self._request, self._devices = request, devices
        self._traced: dict[str, _TracedRule] = {}
        self._sessions: dict[int, _Session] = {}
        self._ids = count(1)

    # Requests of clients.

    def start(self, rule: str, client: object, reply: Reply, now: float) -> None:
        """Begin to follow a rule. If it is not traced yet, the answer waits for that of the supervisor."""
        if problem := self._why_too_many(rule, client):
            reply.error(RpcError(Code.TOO_MANY, problem))
            return
        if rule not in self._traced:
            self._traced[rule] = _TracedRule()
            self._request(TraceRule(rule, True))
        traced = self._traced[rule]
        if traced.number:
            self._begin(rule, client, reply, {w: Reader(ring) for w, ring in traced.rings.items()}, now)
        else:
            traced.waiting.append(_Waiting(client, reply, now))

    def read(self, trace: int, packets: bool, most: int | None, client: object, now: float) -> dict[str, Any]:
        """Return the next events of a trace, oldest first, how many were lost, and why it ended, if so."""
        session = self._session(trace, client)
        session.expires = now + LEASE_S
        events = self._events(session, min(most or DEFAULT_EVENTS, MAX_EVENTS), packets)
        ended = None if events else session.ended
        if ended is not None:
            self._end(trace)
        lost = sum(reader.lost for reader in session.readers.values())
        return {"events": events, "lost": lost, "ended": ended}

    def stop(self, trace: int, client: object) -> dict[str, Any]:
        """End a trace."""
        self._session(trace, client)
        self._end(trace)
        return {}

    # Events.

    def state_changed(self, tracing: TraceState, descriptors: Sequence[int]) -> None:
        """The supervisor traces a rule or, with a reason, does not. Closes the descriptors."""
        rings = {
            worker: map_read_only(ring, TRACE_RING_SIZE)
            for worker, ring in zip(tracing.workers, descriptors, strict=True)
        }
        traced = self._traced.get(tracing.rule)
        if traced is None:
            self._end_unwanted(tracing)
        elif tracing.reason:
            self._ended(tracing.rule, traced, tracing.reason)
        else:
            self._begun(tracing.rule, traced, tracing.number, rings)

    def client_gone(self, client: object) -> None:
        """A client is gone: its traces end."""
        for traced in self._traced.values():
            traced.waiting = [one for one in traced.waiting if one.client is not client]
        for trace, session in list(self._sessions.items()):
            if session.client is client:
                self._end(trace)
        self._end_unfollowed()

    def expire(self, now: float) -> None:
        """End traces that were not read for LEASE_S, and requests that the supervisor left without answer."""
        for trace, session in list(self._sessions.items()):
            if session.expires <= now:
                self._end(trace)
        for rule, traced in list(self._traced.items()):
            if any(one.since + ANSWER_TIMEOUT_S <= now for one in traced.waiting):
                self._ended(rule, traced, "the supervisor does not answer")
                self._request(TraceRule(rule, False))

    def _why_too_many(self, rule: str, client: object) -> str:
        followers = [session.client for session in self._sessions.values()]
        followers += [one.client for traced in self._traced.values() for one in traced.waiting]
        if len(followers) >= MAX_SESSIONS:
            return f"{MAX_SESSIONS} traces are being followed already"
        if sum(follower is client for follower in followers) >= MAX_SESSIONS_PER_CLIENT:
            return f"a connection may follow {MAX_SESSIONS_PER_CLIENT} traces: stop one"
        if rule not in self._traced and len(self._traced) >= MAX_RULES:
            return f"{MAX_RULES} rules are being traced already"
        return ""

    def _begin(self, rule: str, client: object, reply: Reply, readers: dict[int, Reader], now: float) -> None:
        trace = next(self._ids)
        self._sessions[trace] = _Session(rule, client, readers, now + LEASE_S)
        reply.result({"trace": trace, "lease": LEASE_S, "rule": rule})

    def _session(self, trace: int, client: object) -> _Session:
        session = self._sessions.get(trace)
        if session is None or session.client is not client:
            raise RpcError(Code.NO_SUCH_TRACE, f"this connection has no trace {trace}; it may have expired")
        return session

    def _events(self, session: _Session, most: int, packets: bool) -> list[Document]:
        share = max(1, most // max(1, len(session.readers)))
        events = [
            (event, worker) for worker, reader in session.readers.items() for event in reader.read(share)
        ]
        # All packets of a flow go to one worker, so that sorting by time keeps their order.
        events.sort(key=lambda one: one[0].head.time)
        devices = self._devices() if events else {}
        return [
            as_document(event, session.rule, devices, packets) | {"worker": worker}
            for event, worker in events
        ]

    def _end(self, trace: int) -> None:
        del self._sessions[trace]
        self._end_unfollowed()

    def _end_unwanted(self, tracing: TraceState) -> None:
        if not tracing.reason:
            self._request(TraceRule(tracing.rule, False))

    def _end_unfollowed(self) -> None:
        followed = {session.rule for session in self._sessions.values() if session.ended is None}
        for rule, traced in list(self._traced.items()):
            if rule not in followed and not traced.waiting:
                del self._traced[rule]
                self._request(TraceRule(rule, False))

    def _begun(self, rule: str, traced: _TracedRule, number: int, rings: Mapping[int, memoryview]) -> None:
        """Answer the clients that wait, and let those that follow the rule read the new rings, too."""
        known = traced.rings if number == traced.number else {}
        fresh = {worker: ring for worker, ring in rings.items() if worker not in known}
        traced.number, traced.rings = number, {**known, **fresh}
        for session in self._sessions.values():
            if session.rule == rule and session.ended is None:
                session.readers |= _from_the_beginning(fresh)
        waiting, traced.waiting = traced.waiting, []
        for one in waiting:
            self._begin(rule, one.client, one.reply, _from_the_beginning(fresh), one.since)

    def _ended(self, rule: str, traced: _TracedRule, reason: str) -> None:
        del self._traced[rule]
        for session in self._sessions.values():
            if session.rule == rule and session.ended is None:
                session.ended = reason
        for one in traced.waiting:
            one.reply.error(RpcError(Code.NOT_TRACEABLE, f"`{rule}` cannot be traced: {reason}"))


def _from_the_beginning(rings: Mapping[int, memoryview]) -> dict[int, Reader]:
    return {worker: Reader(ring, from_the_beginning=True) for worker, ring in rings.items()}
