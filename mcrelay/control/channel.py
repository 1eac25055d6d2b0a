"""The control process's end of the socket to its supervisor, on which it never waits."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator

from mcrelay.protocol.control import ToControl, ToSupervisor, decode_to_control, encode_to_supervisor
from mcrelay.protocol.framing import (
    MAX_BATCH,
    MAX_DESCRIPTORS,
    MAX_PACKET,
    Assembler,
    Packet,
    cut_into_packets,
)


class ChannelEnded(Exception):
    """The supervisor closed the channel, or died: the control process ends, too."""


class Channel:
    """Messages with descriptors, over a SOCK_SEQPACKET socket."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(False)
        self._assembler = Assembler(MAX_BATCH)
        self._outgoing: deque[Packet] = deque()

    @property
    def wants_to_write(self) -> bool:
        """Whether the supervisor is still to be told something."""
        return bool(self._outgoing)

    def tell(self, request: ToSupervisor) -> None:
        """Ask the supervisor for something; what its socket does not take now goes out with `flush`."""
        self._outgoing += cut_into_packets(encode_to_supervisor(request))
        self.flush()

    def flush(self) -> None:
        """Send what there is room for; raises Ended."""
        while self._outgoing:
            try:
                self.socket.send(self._outgoing[0].data)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                raise ChannelEnded from None
            self._outgoing.popleft()

    def news(self) -> Iterator[tuple[ToControl, list[int]]]:
        """Yield what the supervisor told, with descriptors that are the caller's to close; raises Ended."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, MAX_PACKET, MAX_DESCRIPTORS)
            except BlockingIOError:
                return
            except ConnectionResetError:
                raise ChannelEnded from None
            if not data:
                raise ChannelEnded
            if message := self._assembler.feed(data, descriptors):
                yield decode_to_control(message[0]), message[1]
