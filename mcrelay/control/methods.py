"""The methods that a client may call, with the parameters of each: there are no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mcrelay.control.connection import Connection, Reply
from mcrelay.control.peer import may_trace, read_peer
from mcrelay.control.reload_marks import ReloadMarks
from mcrelay.control.reload_waits import ReloadWaits
from mcrelay.control.trace_sessions import TraceSessions
from mcrelay.model.suggestions import list_words, similar_words
from mcrelay.protocol.jsonrpc import (
    CLIENT_PROTOCOL,
    Code,
    Json,
    Parameter,
    Request,
    RpcError,
    bind_parameters,
)
from mcrelay.status.documents import Documents, Now
from mcrelay.status.replica import SnapshotReplica

Arguments = Mapping[str, Json]

_NOT_TRACEABLE = ("unresolved", "failed", "disabled")


@dataclass(frozen=True, slots=True)
class Call:
    """A request under way: whose it is, where its answer goes, and when it is carried out."""

    connection: Connection
    reply: Reply
    now: Now


class Methods:
    """Carries out the requests of clients."""

    def __init__(
        self,
        snapshot: SnapshotReplica,
        documents: Documents,
        marks: ReloadMarks,
        waits: ReloadWaits,
        traces: TraceSessions,
    ) -> None:
        self._snapshot = snapshot
        self._documents = documents
        self._marks = marks
        self._waits = waits
        self._traces = traces

    def carry_out(self, request: Request, call: Call) -> None:
        """Carry out a request, which is answered now or later; raises RpcError."""
        if not call.connection.is_greeted and request.method != "hello":
            raise _wrong_protocol("the first request is `hello`, with the protocol that you speak")
        method = METHODS.get(request.method)
        if method is None:
            there_are = f"there are: {list_words(METHODS)}"
            raise RpcError(Code.METHOD_NOT_FOUND, f"no method is named `{request.method}`; {there_are}")
        method.call(self, call, bind_parameters(method.parameters, request.params))

    def hello(self, call: Call, given: Arguments) -> None:
        """Agree on the protocol; answer with what the daemon is."""
        if given["protocol"] != CLIENT_PROTOCOL:
            raise _wrong_protocol(f"this daemon speaks protocol {CLIENT_PROTOCOL}, not {given['protocol']}")
        call.connection.is_greeted = True
        daemon, generation = self._snapshot.section("daemon"), self._snapshot.section("generation")
        call.reply.result(
            {
                "protocol": CLIENT_PROTOCOL,
                "version": daemon.get("version"),
                "pid": daemon.get("pid"),
                "config": daemon.get("config"),
                "run_dir": daemon.get("run_dir"),
                "state_dir": daemon.get("state_dir"),
                "watch": daemon.get("watch"),
                "uid": daemon.get("uid"),
                "generation": generation.get("number"),
                "hash": generation.get("hash"),
                "methods": list(METHODS),
            }
        )

    def status(self, call: Call, given: Arguments) -> None:
        """Answer with the status document: of all rules, or of one."""
        call.reply.document(self._documents.status(self._one_or_all(given), call.now))

    def list(self, call: Call, given: Arguments) -> None:
        """Answer with the states of the rules."""
        call.reply.document(self._documents.list(call.now))

    def stats(self, call: Call, given: Arguments) -> None:
        """Answer with the counters of all rules, or of one."""
        call.reply.document(self._documents.stats(self._one_or_all(given), call.now))

    def reload_mark(self, call: Call, given: Arguments) -> None:
        """Answer with the number of reloads that have begun, asked of the supervisor."""
        self._marks.ask(call.reply, call.now.monotonic)

    def reload_verdict(self, call: Call, given: Arguments) -> None:
        """Answer with the result of the last reload and of those before it."""
        call.reply.result(self._snapshot.section("reload"))

    def reload_wait(self, call: Call, given: Arguments) -> None:
        """Answer when a reload that began after number `begun` has a result, or with null after a while."""
        self._waits.add(call.connection, call.reply, given["begun"], given["cause"], call.now.monotonic)

    def trace_start(self, call: Call, given: Arguments) -> None:
        """Begin to trace a rule, for a client that may see the content of packets."""
        rule = self._rule(given["rule"])
        daemon = self._snapshot.section("daemon")
        if not may_trace(read_peer(call.connection.socket), daemon.get("uid"), daemon.get("socket_gid")):
            raise RpcError(
                Code.NOT_PERMITTED, "traces show what packets carry: only root and the socket's group may"
            )
        state, reason = self._snapshot.rule_status(rule)
        if state in _NOT_TRACEABLE:
            problem = f"`{rule}` cannot be traced: it is {state}: {reason}"
            raise RpcError(Code.NOT_TRACEABLE, problem, {"state": state, "reason": reason})
        self._traces.start(rule, call.connection, call.reply, call.now.monotonic)

    def trace_read(self, call: Call, given: Arguments) -> None:
        """Answer with the next events of a trace."""
        packets, most = bool(given["packets"]), given["most"]
        if most is not None and most < 1:
            raise RpcError(Code.INVALID_PARAMS, "the parameter `most` must be at least 1")
        now = call.now.monotonic
        call.reply.result(self._traces.read(given["trace"], packets, most, call.connection, now))

    def trace_stop(self, call: Call, given: Arguments) -> None:
        """End a trace."""
        call.reply.result(self._traces.stop(given["trace"], call.connection))

    def _one_or_all(self, given: Arguments) -> str | None:
        return None if given["rule"] is None else self._rule(given["rule"])

    def _rule(self, name: str) -> str:
        if name not in self._snapshot.rules:
            near = similar_words(name, self._snapshot.rules)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise RpcError(Code.UNKNOWN_RULE, f"no rule is named `{name}`{hint}", {"names": near})
        return name


@dataclass(frozen=True, slots=True)
class Method:
    """What carries out a method, and its parameters."""

    call: Callable[[Methods, Call, Arguments], None]
    parameters: tuple[Parameter, ...] = ()


_TRACE = Parameter("trace", int, is_required=True)
_RULE = Parameter("rule", str)

METHODS = {
    "hello": Method(Methods.hello, (Parameter("protocol", int, is_required=True),)),
    "status": Method(Methods.status, (_RULE,)),
    "list": Method(Methods.list),
    "stats": Method(Methods.stats, (_RULE,)),
    "reload.mark": Method(Methods.reload_mark),
    "reload.verdict": Method(Methods.reload_verdict),
    "reload.wait": Method(
        Methods.reload_wait, (Parameter("begun", int, is_required=True), Parameter("cause", str))
    ),
    "trace.start": Method(Methods.trace_start, (Parameter("rule", str, is_required=True),)),
    "trace.read": Method(Methods.trace_read, (_TRACE, Parameter("packets", bool), Parameter("most", int))),
    "trace.stop": Method(Methods.trace_stop, (_TRACE,)),
}


def _wrong_protocol(message: str) -> RpcError:
    return RpcError(Code.WRONG_PROTOCOL, message, {"protocol": CLIENT_PROTOCOL})
