"""One client's connection: its requests, what it has not received yet, and how long it may take."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from mcrelay.protocol.jsonrpc import (
    MAX_LINE,
    Identity,
    Json,
    RpcError,
    encode_error,
    encode_json,
    encode_result,
)

HELLO_TIMEOUT_S = 5.0  # from the connection to the hello
LINE_TIMEOUT_S = 10.0  # from the beginning of a line to its end
SEND_TIMEOUT_S = 10.0  # without receiving a part of an answer
IDLE_TIMEOUT_S = 600.0  # without a request

Send = Callable[[Sequence[bytes]], None]


class ClientGone(Exception):
    """The client closed its connection."""


class LineTooLong(Exception):
    """The client has sent more than a line may hold, without its end."""


class Reply:
    """The answer to one request, given once: at once or later. A notification gets no answer."""

    def __init__(self, send: Send, id: Identity, is_notification: bool) -> None:
        self._send = send
        self._id = id
        self._is_notification = is_notification

    def result(self, value: Json) -> None:
        """Answer with a result."""
        self.document([encode_json(value).encode()])

    def document(self, pieces: Sequence[bytes]) -> None:
        """Answer with a result that is JSON already, in pieces."""
        self._send([] if self._is_notification else encode_result(self._id, pieces))

    def error(self, error: RpcError) -> None:
        """Answer with an error."""
        self._send([] if self._is_notification else [encode_error(error, self._id)])


class Connection:
    """The connection of one client. Its caller passes the time: seconds of the monotonic clock."""

    def __init__(self, connected: socket.socket, now: float) -> None:
        self.socket = connected
        self.is_greeted = False
        """Whether the client has said hello."""
        self.awaits_answer = False
        """Whether a request is being carried out: the next one is read after its answer."""
        self.closes_after_answer = False
        """Whether the connection is closed when the client has received its answer."""
        self.last_message = now
        """When it was opened, or last completed a message."""
        self._incoming = bytearray()
        self._line_begun: float | None = None
        self._outgoing: deque[memoryview] = deque()
        self._last_progress = now
        self._is_at_end = False

    @property
    def wants_to_write(self) -> bool:
        """Whether the client has not received all of its answer."""
        return bool(self._outgoing)

    @property
    def has_request(self) -> bool:
        """Whether there is a whole line, and no other request under way."""
        return not self._is_busy and b"\n" in self._incoming

    @property
    def wants_to_read(self) -> bool:
        """Whether to read from the client: not before all its requests have been answered."""
        return not (self._is_busy or self._is_at_end) and b"\n" not in self._incoming

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to read or to send."""
        is_at_end = self.closes_after_answer or (self._is_at_end and b"\n" not in self._incoming)
        return is_at_end and not (self._outgoing or self.awaits_answer)

    @property
    def unsent(self) -> Iterable[memoryview]:
        """The pieces of answers that the client has not received."""
        return self._outgoing

    @property
    def last_progress(self) -> float:
        """When the client last received a part of its answer, or had received all of it."""
        return self._last_progress

    @property
    def _is_busy(self) -> bool:
        return bool(self._outgoing) or self.awaits_answer or self.closes_after_answer

    def receive(self, now: float) -> None:
        """Read from the client, a line's length at most; raises ClientGone or LineTooLong."""
        try:
            data = self.socket.recv(MAX_LINE + 1 - len(self._incoming))
        except BlockingIOError:
            return
        except OSError:
            raise ClientGone from None
        if not data:
            self._is_at_end = True  # the client may still wait for answers
        elif not self._incoming:
            self._line_begun = now
        self._incoming += data
        if len(self._incoming) > MAX_LINE and b"\n" not in self._incoming:
            raise LineTooLong

    def next_line(self, now: float) -> bytes:
        """Return the next line, without its end, and remove it."""
        line, _, rest = self._incoming.partition(b"\n")
        self._incoming = rest
        self._line_begun = now if rest else None
        self.last_message = now
        return bytes(line)

    def send(self, pieces: Iterable[bytes], now: float) -> None:
        """Send an answer; what the socket has no room for goes out with `flush`. Raises ClientGone."""
        if not self._outgoing:
            self._last_progress = now
        self._outgoing += map(memoryview, pieces)
        self.flush(now)

    def flush(self, now: float) -> None:
        """Send what the socket has room for; raises ClientGone."""
        while self._outgoing:
            try:
                sent = self.socket.sendmsg(self._outgoing)
            except BlockingIOError:
                return
            except OSError:
                raise ClientGone from None
            self._last_progress = now
            self._remove(sent)
        if self._line_begun is not None:
            self._line_begun = now  # nothing was read meanwhile

    def _remove(self, octets: int) -> None:
        while self._outgoing and octets >= len(self._outgoing[0]):
            octets -= len(self._outgoing.popleft())
        if octets:
            self._outgoing[0] = self._outgoing[0][octets:]

    def why_overdue(self, now: float) -> str:
        """Return which of its time limits the client has exceeded; empty where none."""
        if not self.is_greeted and now - self.last_message > HELLO_TIMEOUT_S:
            return "it said no hello"
        if self._outgoing:
            return "it took none of its answer" if now - self._last_progress > SEND_TIMEOUT_S else ""
        if self._line_begun is not None and self.wants_to_read and now - self._line_begun > LINE_TIMEOUT_S:
            return "it did not end its line"
        return "it asked for nothing" if now - self.last_message > IDLE_TIMEOUT_S else ""
