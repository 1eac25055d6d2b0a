"""All clients. They take turns, so that a client that floods, stalls or sends garbage harms no other."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from mcrelay.control.connection import ClientGone, Connection, LineTooLong, Reply
from mcrelay.control.methods import Call, Methods
from mcrelay.ipc.child_process import report
from mcrelay.protocol.jsonrpc import MAX_LINE, Code, Request, RpcError, parse_request
from mcrelay.status.documents import Now

MAX_CLIENTS = 256
MAX_SILENT_CLIENTS = MAX_CLIENTS // 2  # that have not said hello: if there are more, they displace each other
MAX_ACCEPTS_PER_TURN = 16  # then the connected clients have their turn
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # accept(2) may succeed later
MAX_UNSENT = 64 << 20  # octets of answers not received yet; what several clients wait for counts once


class Clients:
    """The connections. In one turn, one request of each is carried out. `gone` gets those that are closed."""

    def __init__(
        self, selector: selectors.BaseSelector, methods: Methods, gone: Callable[[Connection], None]
    ) -> None:
        self._selector = selector
        self._methods = methods
        self._gone = gone
        self._watched: dict[Connection, int] = {}
        """All connections, with the events for which the selector watches them."""
        self._listener: socket.socket | None = None
        self._ready: dict[Connection, None] = {}
        """The connections that have a request, the one that has waited longest first."""

    def listen(self, listener: socket.socket) -> None:
        """Accept clients at this socket, and no longer at the one before."""
        if self._listener is not None:
            self._pause_accepting()
            self._listener.close()
        self._listener = listener
        self.resume_accepting()

    def resume_accepting(self) -> None:
        """Accept clients again after a shortage of the system."""
        if self._listener is not None and self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ, lambda _: self._accept())

    def _pause_accepting(self) -> None:
        """Stop watching the listener: the clients in its queue would wake this process again and again."""
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
        self._limit_unsent()

    def close_overdue(self, now: float) -> None:
        """Close the connections that have exceeded a time limit."""
        for connection in [one for one in self._watched if one.why_overdue(now)]:
            self._close(connection)

    # Events.

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(MAX_ACCEPTS_PER_TURN):
            try:
                connected, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise
                self._pause_accepting()
                return
            connected.setblocking(False)
            if len(self._watched) >= MAX_CLIENTS:
                self._close(self._most_dispensable())
            connection = Connection(connected, time.monotonic())
            self._watched[connection] = 0
            self._update(connection)

    def _most_dispensable(self) -> Connection:
        """Return the connection to close for the next one.

        If more than MAX_SILENT_CLIENTS have not said hello, it is one of them; else it may be any.
        """
        silent = [connection for connection in self._watched if not connection.is_greeted]
        candidates = silent if len(silent) > MAX_SILENT_CLIENTS else self._watched
        return min(candidates, key=lambda one: one.last_message)

    def _handle_events(self, connection: Connection, events: int) -> None:
        if connection not in self._watched:
            return  # an event of another connection, earlier in this turn, has closed it
        now = time.monotonic()
        try:
            if events & selectors.EVENT_WRITE:
                connection.flush(now)
            if events & selectors.EVENT_READ:
                connection.receive(now)
        except ClientGone:
            self._close(connection)
        except LineTooLong:
            connection.closes_after_answer = True
            problem = f"a request is one line of at most {MAX_LINE} bytes"
            self._refuse(connection, RpcError(Code.INVALID_REQUEST, problem))
        else:
            self._update(connection)

    def _serve(self, connection: Connection, now: Now) -> None:
        line = connection.next_line(now.monotonic)
        connection.awaits_answer = True
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
            self._answer_error(connection, reply, error)
        except Exception as mistake:  # a bug of mcrelay costs this one request, and not all clients
            report(f"control: cannot answer `{request.method}`: {mistake!r}")
            problem = "internal error: see the log of mcrelay"
            self._answer_error(connection, reply, RpcError(Code.INTERNAL_ERROR, problem))

    # Answers.

    def _refuse(self, connection: Connection, error: RpcError) -> None:
        reply = Reply(partial(self._answer, connection), error.id, is_notification=False)
        self._answer_error(connection, reply, error)

    def _answer_error(self, connection: Connection, reply: Reply, error: RpcError) -> None:
        if not connection.is_greeted:  # it speaks another protocol
            connection.closes_after_answer = True
        reply.error(error)

    def _answer(self, connection: Connection, pieces: Sequence[bytes]) -> None:
        if connection not in self._watched:
            return
        connection.awaits_answer = False
        try:
            connection.send(pieces, time.monotonic())
        except ClientGone:
            self._close(connection)
        else:
            self._update(connection)

    def _update(self, connection: Connection) -> None:
        """Find out what a connection needs next."""
        if connection.is_finished:
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
        handler = partial(self._handle_events, connection)
        if before and not events:
            self._selector.unregister(connection.socket)
        elif events and not before:
            self._selector.register(connection.socket, events, handler)
        elif events != before:
            self._selector.modify(connection.socket, events, handler)

    def _close(self, connection: Connection) -> None:
        self._watch(connection, 0)
        del self._watched[connection]
        connection.socket.close()
        self._gone(connection)

    def _limit_unsent(self) -> None:
        """Close the slowest connections where the answers that were not received exceed MAX_UNSENT."""
        slow = [connection for connection in self._watched if connection.wants_to_write]
        slow.sort(key=lambda connection: connection.last_progress, reverse=True)
        while _total_unsent(slow) > MAX_UNSENT:
            self._close(slow.pop())


def _total_unsent(connections: Sequence[Connection]) -> int:
    pieces = {id(piece.obj): piece.nbytes for connection in connections for piece in connection.unsent}
    return sum(pieces.values())
