"""The traces that clients follow: who reads which rule's rings, from where, and until when.

A rule is traced once however many clients follow it, each from a place of its own. Nothing is kept for a
client: what it does not read in time is overwritten, and counted as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from mcrelay.ipc.shared_memory import map_read_only
from mcrelay.protocol.control import TraceRule, TraceState
from mcrelay.protocol.jsonrpc import Code, Json, RpcError
from mcrelay.tracing.format import Document, as_document
from mcrelay.tracing.ring import MEMORY_SIZE, Reader

LEASE = 10.0  # seconds for which a trace goes on that nobody reads
PATIENCE = 5.0  # seconds in which the supervisor is to answer
MOST_RULES = 16
MOST_OF_A_CLIENT, MOST_OF_ALL = 8, 256
DEFAULT_EVENTS, MOST_EVENTS = 100, 1000  # of one answer


class Reply(Protocol):
    """How a request is answered, once, now or later."""

    def result(self, value: Json, /) -> None:
        """Answer with a result."""

    def failed(self, error: RpcError, /) -> None:
        """Answer with an error."""


@dataclass(slots=True)
class _Session:
    """What one client follows. Where the trace has `ended`, what was written until then can still be read."""

    rule: str
    client: object
    readers: dict[int, Reader]
    expires: float
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A client that asked for a trace of which the supervisor has not told yet."""

    client: object
    reply: Reply
    since: float


@dataclass(slots=True)
class _TracedRule:
    """A rule that is being traced, or soon: the rings of its workers."""

    number: int = 0
    rings: dict[int, memoryview] = field(default_factory=dict)
    waiting: list[_Waiting] = field(default_factory=list)


class TraceSessions:
    """All traces. `tell` says to the supervisor what is wanted, `devices` names devices by their index."""

    def __init__(self, tell: Callable[[TraceRule], None], devices: Callable[[], Mapping[int, str]]) -> None:
        self._tell, self._devices = tell, devices
        self._traced: dict[str, _TracedRule] = {}
        self._sessions: dict[int, _Session] = {}
        self._ids = count(1)

    # What clients ask for.

    def start(self, rule: str, client: object, reply: Reply, now: float) -> None:
        """Follow a rule. The reply comes at once where it is traced already, else from the supervisor."""
        if problem := self._too_many(rule, client):
            reply.failed(RpcError(Code.TOO_MANY, problem))
            return
        if rule not in self._traced:
            self._traced[rule] = _TracedRule()
            self._tell(TraceRule(rule, True))
        traced = self._traced[rule]
        if traced.number:
            self._begin(rule, client, reply, {w: Reader(ring) for w, ring in traced.rings.items()}, now)
        else:
            traced.waiting.append(_Waiting(client, reply, now))

    def read(self, trace: int, packets: bool, most: int | None, client: object, now: float) -> dict[str, Any]:
        """Return the next events of a trace, oldest first, and how many were lost since it began."""
        session = self._session(trace, client)
        session.expires = now + LEASE
        events = self._events(session, min(most or DEFAULT_EVENTS, MOST_EVENTS), packets)
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

    # What happens.

    def told(self, tracing: TraceState, descriptors: Sequence[int]) -> None:
        """The supervisor said that a rule is traced, or why it is not or no longer; owns the descriptors."""
        rings = {
            worker: map_read_only(ring, MEMORY_SIZE)
            for worker, ring in zip(tracing.workers, descriptors, strict=True)
        }
        traced = self._traced.get(tracing.rule)
        if traced is None:
            self._tell_that_nobody_follows(tracing)
        elif tracing.reason:
            self._ended(tracing.rule, traced, tracing.reason)
        else:
            self._begun(tracing.rule, traced, tracing.number, rings)

    def client_gone(self, client: object) -> None:
        """A client has gone, and its traces with it."""
        for traced in self._traced.values():
            traced.waiting = [one for one in traced.waiting if one.client is not client]
        for trace, session in list(self._sessions.items()):
            if session.client is client:
                self._end(trace)
        self._forget_what_nobody_follows()

    def expire(self, now: float) -> None:
        """End what nobody has read for too long, and wait no longer for answers that do not come."""
        for trace, session in list(self._sessions.items()):
            if session.expires <= now:
                self._end(trace)
        for rule, traced in list(self._traced.items()):
            if any(one.since + PATIENCE <= now for one in traced.waiting):
                self._ended(rule, traced, "the supervisor does not answer")
                self._tell(TraceRule(rule, False))

    # The parts of it.

    def _too_many(self, rule: str, client: object) -> str:
        followers = [session.client for session in self._sessions.values()]
        followers += [one.client for traced in self._traced.values() for one in traced.waiting]
        if len(followers) >= MOST_OF_ALL:
            return f"{MOST_OF_ALL} traces are being followed already"
        if sum(follower is client for follower in followers) >= MOST_OF_A_CLIENT:
            return f"a connection may follow {MOST_OF_A_CLIENT} traces: stop one"
        if rule not in self._traced and len(self._traced) >= MOST_RULES:
            return f"{MOST_RULES} rules are being traced already"
        return ""

    def _begin(self, rule: str, client: object, reply: Reply, readers: dict[int, Reader], now: float) -> None:
        trace = next(self._ids)
        self._sessions[trace] = _Session(rule, client, readers, now + LEASE)
        reply.result({"trace": trace, "lease": LEASE, "rule": rule})

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
        # The packets of a flow are all one worker's, so that those of several may be mixed by their times.
        events.sort(key=lambda one: one[0].head.time)
        devices = self._devices() if events else {}
        return [
            as_document(event, session.rule, devices, packets) | {"worker": worker}
            for event, worker in events
        ]

    def _end(self, trace: int) -> None:
        del self._sessions[trace]
        self._forget_what_nobody_follows()

    def _tell_that_nobody_follows(self, tracing: TraceState) -> None:
        if not tracing.reason:
            self._tell(TraceRule(tracing.rule, False))

    def _forget_what_nobody_follows(self) -> None:
        followed = {session.rule for session in self._sessions.values() if session.ended is None}
        for rule, traced in list(self._traced.items()):
            if rule not in followed and not traced.waiting:
                del self._traced[rule]
                self._tell(TraceRule(rule, False))

    def _begun(self, rule: str, traced: _TracedRule, number: int, rings: Mapping[int, memoryview]) -> None:
        """Let those who wait begin, and those who follow a rule already have what came to it since."""
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
            one.reply.failed(RpcError(Code.NOT_TRACEABLE, f"`{rule}` cannot be traced: {reason}"))


def _from_the_beginning(rings: Mapping[int, memoryview]) -> dict[int, Reader]:
    return {worker: Reader(ring, from_the_beginning=True) for worker, ring in rings.items()}
