"""Messages with descriptors between the supervisor and a child process, over a SOCK_SEQPACKET socket.

The supervisor holds a ChildChannel, the control process a NonBlockingChannel, a worker a BlockingChannel.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from mcrelay.protocol.framing import (
    MAX_ANSWER,
    MAX_BATCH,
    MAX_DESCRIPTORS,
    MAX_PACKET,
    Assembler,
    Packet,
    cut_into_packets,
)

SHORTAGES = (errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)  # the same send may succeed later
MAX_PACKETS_PER_TURN = 64  # read from one child before others have their turn

Message = TypeVar("Message")


class ChannelClosed(Exception):
    """The process at the other end has closed the channel or exited."""

    def __init__(self) -> None:
        super().__init__("it closed its channel")


class SendQueue:
    """Queues packets for a non-blocking socket until the socket has room for them."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._packets: deque[Packet] = deque()
        self.waiting_bytes = 0
        """The number of bytes in the queue."""

    def __bool__(self) -> bool:
        return bool(self._packets)

    def add(self, text: bytes, descriptors: Sequence[int] = ()) -> None:
        """Queue a message. Its descriptors must stay open until it is sent."""
        parts = cut_into_packets(text, descriptors)
        self._packets += parts
        self.waiting_bytes += sum(len(part.data) for part in parts)

    def flush(self) -> None:
        """Send the packets that the socket has room for.

        Raises ChannelClosed, and OSError if the kernel lacks memory.
        """
        while self._packets:
            packet = self._packets[0]
            try:
                socket.send_fds(self._socket, [packet.data], packet.descriptors)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                raise ChannelClosed from None
            self._packets.popleft()
            self.waiting_bytes -= len(packet.data)

    def clear(self) -> None:
        """Drop all packets that wait."""
        self._packets.clear()
        self.waiting_bytes = 0


class ChildChannel(Generic[Message]):
    """The supervisor's end. It never blocks, queues unread messages, and accepts no descriptors.

    `decode` turns the text of a message from the child into a value, or raises WireError.
    """

    def __init__(self, end: socket.socket, decode: Callable[[bytes], Message]) -> None:
        end.setblocking(False)
        self._socket = end
        self._decode = decode
        self._assembler = Assembler(MAX_ANSWER)
        self._queue = SendQueue(end)
        self.is_short_of_memory = False
        """Whether the kernel lacked memory at the last send, so that to poll for room is useless."""

    def fileno(self) -> int:
        """Return the descriptor to poll, -1 once the channel is closed."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether packets wait to be sent."""
        return bool(self._queue)

    @property
    def unsent_bytes(self) -> int:
        """Return the number of bytes that wait because the child does not read."""
        return self._queue.waiting_bytes

    def send(self, text: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a message, or queue it until a `flush` if the socket has no room.

        The descriptors must stay open until then.
        """
        self._queue.add(text, descriptors)
        self.flush()

    def flush(self) -> None:
        """Send the packets that the socket has room for. Drop all packets if the child has exited."""
        self.is_short_of_memory = False
        try:
            self._queue.flush()
        except ChannelClosed:
            self._queue.clear()
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            self.is_short_of_memory = True

    def receive(self) -> list[Message]:
        """Return the messages that have arrived.

        Raises ChannelClosed, and WireError if a message is malformed.
        """
        messages: list[Message] = []
        for _ in range(MAX_PACKETS_PER_TURN):
            try:
                # Without room for descriptors, the kernel closes those that a child sends.
                message = _receive_packet(self._socket, self._assembler, max_descriptors=0)
            except BlockingIOError:
                break
            if message:
                messages.append(self._decode(message[0]))
        return messages

    def shut_down(self) -> None:
        """Close the channel in both directions, so that the child reads end of file and exits."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket, and drop the packets that wait."""
        self._queue.clear()
        self._socket.close()


class NonBlockingChannel:
    """The control process's end. It never blocks, and queues unread messages."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)
        self._assembler = Assembler(MAX_BATCH)
        self._queue = SendQueue(self.socket)

    @property
    def has_unsent(self) -> bool:
        """Whether packets wait to be sent."""
        return bool(self._queue)

    def send(self, text: bytes) -> None:
        """Send a message, or queue it until a `flush` if the socket has no room; raises ChannelClosed."""
        self._queue.add(text)
        self.flush()

    def flush(self) -> None:
        """Send the packets that the socket has room for; raises ChannelClosed."""
        self._queue.flush()

    def receive(self) -> Iterator[tuple[bytes, list[int]]]:
        """Yield the messages that have arrived, with descriptors that the caller must close.

        Raises ChannelClosed, and WireError on a malformed message.
        """
        while True:
            try:
                message = _receive_packet(self.socket, self._assembler)
            except BlockingIOError:
                return
            if message:
                yield message


class BlockingChannel:
    """A worker's end. Sending and receiving wait for the supervisor."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._assembler = Assembler(MAX_BATCH)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def send(self, text: bytes) -> None:
        """Send a message; raises ChannelClosed."""
        try:
            for packet in cut_into_packets(text):
                self._socket.sendall(packet.data)
        except (BrokenPipeError, ConnectionResetError):
            raise ChannelClosed from None

    def receive(self) -> tuple[bytes, list[int]]:
        """Wait for a whole message; return it with its descriptors, which the caller must close.

        Raises ChannelClosed, and WireError on a malformed message.
        """
        while True:
            if message := _receive_packet(self._socket, self._assembler):
                return message


def _receive_packet(
    end: socket.socket, assembler: Assembler, max_descriptors: int = MAX_DESCRIPTORS
) -> tuple[bytes, list[int]] | None:
    """Read one packet; return the message that it completes with its descriptors, or None.

    Raises ChannelClosed, WireError on a malformed packet, BlockingIOError if a non-blocking socket is empty.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(end, MAX_PACKET, max_descriptors)
    except ConnectionResetError:
        data, descriptors = b"", []
    if not data:
        raise ChannelClosed
    return assembler.feed(data, descriptors)
