"""The supervisor's end of the socket to a process that it started. It waits for nobody."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from mcrelay.protocol.framing import MAX_ANSWER, MAX_PACKET, Assembler, Packet, WireError, cut_into_packets

EXHAUSTED = (errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)  # it passes
TURN = 64  # packets that are heard before others have a turn

Heard = TypeVar("Heard")


class ChannelClosed(Exception):
    """The process is gone, or said something that it never should."""


class Channel(Generic[Heard]):
    """Messages with descriptors to the process; short answers, which `decoded` understands, from it."""

    def __init__(self, end: socket.socket, decoded: Callable[[bytes], Heard]) -> None:
        end.setblocking(False)
        self._socket = end
        self._decoded = decoded
        self._assembler = Assembler(MAX_ANSWER)
        self._outgoing: deque[Packet] = deque()
        self.waiting = 0
        """Octets that are still to be said, because the process does not listen now."""
        self.is_refused = False
        """Whether the system had no room for what is to be said: that of the socket tells nothing then."""

    def fileno(self) -> int:
        """Return the descriptor to poll, -1 when it is closed."""
        return self._socket.fileno()

    def send(self, text: bytes, descriptors: Sequence[int] = ()) -> None:
        """Say something; what the socket does not take now goes out with `flush`.

        The descriptors stay open until then.
        """
        parts = cut_into_packets(text, descriptors)
        self._outgoing += parts
        self.waiting += sum(len(part.data) for part in parts)
        self.flush()

    @property
    def has_more_to_say(self) -> bool:
        """Whether it is not all said yet."""
        return bool(self._outgoing)

    def flush(self) -> None:
        """Send what the socket has room for."""
        self.is_refused = False
        while self._outgoing:
            packet = self._outgoing[0]
            try:
                socket.send_fds(self._socket, [packet.data], list(packet.descriptors))
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._forget()  # the exit of the process is reported by itself
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self.is_refused = True
                return
            self._outgoing.popleft()
            self.waiting -= len(packet.data)

    def heard(self) -> list[Heard]:
        """Return what the process said; raises ChannelClosed when it will say nothing more of worth."""
        messages: list[Heard] = []
        for _ in range(TURN):
            try:
                data = self._socket.recv(MAX_PACKET)
            except BlockingIOError:
                break
            except ConnectionResetError:
                raise ChannelClosed("it hung up") from None
            if not data:
                raise ChannelClosed("it hung up")
            try:
                if message := self._assembler.feed(data):
                    messages.append(self._decoded(message[0]))
            except WireError as error:
                raise ChannelClosed(str(error)) from None
        return messages

    def shut(self) -> None:
        """Let the process see the end of it."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it, and of all that was still to be said."""
        self._forget()
        self._socket.close()

    def _forget(self) -> None:
        self._outgoing.clear()
        self.waiting = 0
