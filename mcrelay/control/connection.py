"""One client: what it has said, what it is still to be told, and how long it may take for that."""

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

GREETING = 5.0  # seconds that a client has for its hello
HALF_A_LINE = 10.0  # for the rest of a line
STANDSTILL = 10.0  # for taking some of its answer
IDLE = 600.0  # for its next request


Send = Callable[[Sequence[bytes]], None]


class ClientGone(Exception):
    """The client closed its connection, or was cut off."""


class TooLong(Exception):
    """The client has sent more than a line may hold, and no end of it."""


class Reply:
    """The answer to one request, given once: at once or later. A notification gets no answer."""

    def __init__(self, send: Send, id: Identity, is_notification: bool) -> None:
        self._send = send
        self._id = id
        self._is_notification = is_notification

    def result(self, value: Json) -> None:
        """The request was carried out."""
        self.document([encode_json(value).encode()])

    def document(self, pieces: Sequence[bytes]) -> None:
        """The request was carried out; the result is JSON already."""
        self._send([] if self._is_notification else encode_result(self._id, pieces))

    def failed(self, error: RpcError) -> None:
        """The request was not carried out."""
        self._send([] if self._is_notification else [encode_error(error, self._id)])


class Connection:
    """A client's connection. Times are seconds of the monotonic clock, and the caller's."""

    def __init__(self, connected: socket.socket, now: float) -> None:
        self.socket = connected
        self.is_greeted = False
        self.is_waiting = False
        """Whether it waits for the answer to a request, so that the next one has to wait, too."""
        self.is_ending = False
        """Whether it is closed once it has taken its answer."""
        self.since = now
        """When it was opened, or last completed a message."""
        self._incoming = bytearray()
        self._half_since: float | None = None
        self._outgoing: deque[memoryview] = deque()
        self._taken = now
        self._is_at_end = False

    @property
    def wants_to_write(self) -> bool:
        """Whether it has not taken all of its answer."""
        return bool(self._outgoing)

    @property
    def has_request(self) -> bool:
        """Whether it has said a whole line, and may be answered."""
        is_free = not (self._outgoing or self.is_waiting or self.is_ending)
        return is_free and b"\n" in self._incoming

    @property
    def wants_to_read(self) -> bool:
        """Whether what it says next is to be read: not before all that it said has been answered."""
        is_busy = self._outgoing or self.is_waiting or self.is_ending or self._is_at_end
        return not is_busy and b"\n" not in self._incoming

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be said by either side."""
        is_at_end = self.is_ending or (self._is_at_end and b"\n" not in self._incoming)
        return is_at_end and not (self._outgoing or self.is_waiting)

    @property
    def waiting(self) -> Iterable[memoryview]:
        """What it has not taken yet."""
        return self._outgoing

    @property
    def taken(self) -> float:
        """When it last took some of its answer, or had none to take."""
        return self._taken

    def receive(self, now: float) -> None:
        """Read what the client says, one line's length at the most; raises Gone or TooLong."""
        try:
            data = self.socket.recv(MAX_LINE + 1 - len(self._incoming))
        except BlockingIOError:
            return
        except OSError:
            raise ClientGone from None
        if not data:
            self._is_at_end = True  # it may still want its answers
        elif not self._incoming:
            self._half_since = now
        self._incoming += data
        if len(self._incoming) > MAX_LINE and b"\n" not in self._incoming:
            raise TooLong

    def line(self, now: float) -> bytes:
        """Return the next line that it has said, without its end."""
        line, _, rest = self._incoming.partition(b"\n")
        self._incoming = rest
        self._half_since = now if rest else None
        self.since = now
        return bytes(line)

    def send(self, pieces: Iterable[bytes], now: float) -> None:
        """Give it an answer, as much as it takes at once; the rest goes out with `flush`."""
        if not self._outgoing:
            self._taken = now
        self._outgoing += map(memoryview, pieces)
        self.flush(now)

    def flush(self, now: float) -> None:
        """Send what the client takes now; raises Gone."""
        while self._outgoing:
            try:
                sent = self.socket.sendmsg(self._outgoing)
            except BlockingIOError:
                return
            except OSError:
                raise ClientGone from None
            self._taken = now
            self._sent(sent)
        if self._half_since is not None:
            self._half_since = now  # it was not listened to meanwhile

    def _sent(self, octets: int) -> None:
        while self._outgoing and octets >= len(self._outgoing[0]):
            octets -= len(self._outgoing.popleft())
        if octets:
            self._outgoing[0] = self._outgoing[0][octets:]

    def overdue(self, now: float) -> str:
        """Return why its patience is exhausted, or nothing."""
        if not self.is_greeted and now - self.since > GREETING:
            return "it said no hello"
        if self._outgoing:
            return "it took none of its answer" if now - self._taken > STANDSTILL else ""
        if self._half_since is not None and self.wants_to_read and now - self._half_since > HALF_A_LINE:
            return "it did not end its line"
        return "it asked for nothing" if now - self.since > IDLE else ""
