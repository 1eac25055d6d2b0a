"""All clients: they take turns, and whoever floods, stalls or sends garbage harms nobody else."""

from __future__ import annotations

import errno
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from mcrelay.control.connection import ClientGone, Connection, Reply, TooLong
from mcrelay.control.methods import Call, Methods
from mcrelay.protocol.jsonrpc import MAX_LINE, Code, Request, RpcError, parse_request
from mcrelay.status.documents import Now

MOST = 256  # connections
AT_ONCE = 16  # newcomers, before those that are there have their turn
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # it passes
MOST_WAITING = 64 << 20  # octets of answers that clients have not taken; what several wait for counts once


class Clients:
    """The connections. At a turn, one request of each is carried out."""

    def __init__(
        self, selector: selectors.BaseSelector, methods: Methods, gone: Callable[[Connection], None]
    ) -> None:
        self._selector = selector
        self._methods = methods
        self._gone = gone
        self._watched: dict[Connection, int] = {}
        """All connections, with the events that are watched for."""
        self._listener: socket.socket | None = None
        self._ready: dict[Connection, None] = {}
        """Those that have a request, in the order in which they came to have it."""

    def listen(self, listener: socket.socket) -> None:
        """Let clients in from now on, in place of those at another socket."""
        if self._listener is not None:
            self._rest()
            self._listener.close()
        self._listener = listener
        self.carry_on()

    def carry_on(self) -> None:
        """Let clients in again where there was no room for them."""
        if self._listener is not None and self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ, lambda _: self._accept())

    def _rest(self) -> None:
        """Let nobody in for a while: who waits for room with a full queue would never sleep."""
        if self._listener is not None and self._listener in self._selector.get_map():
            self._selector.unregister(self._listener)

    @property
    def has_request(self) -> bool:
        """Whether a client waits for its turn."""
        return bool(self._ready)

    def serve(self, now: Now) -> None:
        """Carry out one request of each connection that has one."""
        ready, self._ready = self._ready, {}
        for connection in ready:
            if connection in self._watched:
                self._serve(connection, now)
        self._limit_what_waits()

    def close_overdue(self, now: float) -> None:
        """Close the connections with which all patience is over."""
        for connection in [one for one in self._watched if one.overdue(now)]:
            self._close(connection)

    # What happens.

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(AT_ONCE):
            try:
                connected, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._rest()
                return
            connected.setblocking(False)
            if len(self._watched) >= MOST:
                self._close(min(self._watched, key=lambda one: one.since))
            connection = Connection(connected, time.monotonic())
            self._watched[connection] = 0
            self._settle(connection)

    def _happened(self, connection: Connection, events: int) -> None:
        if connection not in self._watched:
            return  # closed by what happened to another a moment ago
        now = time.monotonic()
        try:
            if events & selectors.EVENT_WRITE:
                connection.flush(now)
            if events & selectors.EVENT_READ:
                connection.receive(now)
        except ClientGone:
            self._close(connection)
        except TooLong:
            connection.is_ending = True
            problem = f"a request is one line of at most {MAX_LINE} octets"
            self._refuse(connection, RpcError(Code.INVALID_REQUEST, problem))
        else:
            self._settle(connection)

    def _serve(self, connection: Connection, now: Now) -> None:
        line = connection.line(now.monotonic)
        connection.is_waiting = True
        try:
            request = parse_request(line)
        except RpcError as error:
            self._refuse(connection, error)
        else:
            self._carry_out(connection, request, now)

    def _carry_out(self, connection: Connection, request: Request, now: Now) -> None:
        reply = Reply(partial(self._answer, connection), request.id, request.is_notification)
        try:
            self._methods.carry_out(request, Call(connection, reply, now))
        except RpcError as error:
            self._fail(connection, reply, error)
        except Exception as mistake:  # of ours: it costs this one request, and not every client
            print(f"control: cannot answer `{request.method}`: {mistake!r}", file=sys.stderr)
            self._fail(
                connection, reply, RpcError(Code.INTERNAL_ERROR, "mcrelay made a mistake: see its log")
            )

    # What is done.

    def _refuse(self, connection: Connection, error: RpcError) -> None:
        reply = Reply(partial(self._answer, connection), error.id, is_notification=False)
        self._fail(connection, reply, error)

    def _fail(self, connection: Connection, reply: Reply, error: RpcError) -> None:
        # Who does not begin with a hello is no client of ours.
        connection.is_ending = connection.is_ending or not connection.is_greeted
        reply.failed(error)

    def _answer(self, connection: Connection, pieces: Sequence[bytes]) -> None:
        if connection not in self._watched:
            return
        connection.is_waiting = False
        try:
            connection.send(pieces, time.monotonic())
        except ClientGone:
            self._close(connection)
        else:
            self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        """Find out what comes next for a connection to which something has happened."""
        if connection.is_over:
            self._close(connection)
            return
        if connection.has_request:
            self._ready[connection] = None
        reads = selectors.EVENT_READ if connection.wants_to_read else 0
        writes = selectors.EVENT_WRITE if connection.wants_to_write else 0
        self._watch(connection, reads | writes)

    def _watch(self, connection: Connection, events: int) -> None:
        before = self._watched[connection]
        self._watched[connection] = events
        happened = partial(self._happened, connection)
        if before and not events:
            self._selector.unregister(connection.socket)
        elif events and not before:
            self._selector.register(connection.socket, events, happened)
        elif events != before:
            self._selector.modify(connection.socket, events, happened)

    def _close(self, connection: Connection) -> None:
        self._watch(connection, 0)
        del self._watched[connection]
        connection.socket.close()
        self._gone(connection)

    def _limit_what_waits(self) -> None:
        """Close those that have not taken their answers for longest, when too much waits for them in all."""
        slow = [connection for connection in self._watched if connection.wants_to_write]
        slow.sort(key=lambda connection: connection.taken, reverse=True)
        waiting = {id(piece.obj): piece.nbytes for one in slow for piece in one.waiting}
        while sum(waiting.values()) > MOST_WAITING:
            self._close(slow.pop())
            waiting = {id(piece.obj): piece.nbytes for one in slow for piece in one.waiting}
