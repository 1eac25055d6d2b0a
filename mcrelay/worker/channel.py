"""The worker's end of the socket to its supervisor."""

from __future__ import annotations

import socket

from mcrelay.protocol.framing import MAX_BATCH, MAX_DESCRIPTORS, MAX_PACKET, Assembler, cut_into_packets
from mcrelay.protocol.worker import Answer, encode_answer


class ChannelEnded(Exception):
    """The supervisor closed the channel, or died: the worker ends, too."""


class Channel:
    """Messages with descriptors, over a SOCK_SEQPACKET socket."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._assembler = Assembler(MAX_BATCH)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def send(self, answer: Answer) -> None:
        """Tell the supervisor."""
        try:
            for packet in cut_into_packets(encode_answer(answer)):
                self._socket.sendall(packet.data)
        except BrokenPipeError:
            raise ChannelEnded from None

    def receive(self) -> tuple[bytes, list[int]]:
        """Wait for a whole message; return its text and its descriptors, which are the caller's to close."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, MAX_PACKET, MAX_DESCRIPTORS)
            except ConnectionResetError:
                raise ChannelEnded from None
            if not data:
                raise ChannelEnded
            if message := self._assembler.feed(data, descriptors):
                return message
