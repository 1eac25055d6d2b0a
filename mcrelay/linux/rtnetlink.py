"""Requests to rtnetlink(7) and their answers, a few microseconds each."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcrelay.linux.constants import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_DROP_MEMBERSHIP,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
)
from mcrelay.linux.socket_filters import FilterInstruction, attach

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port ID
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_ERROR = struct.Struct("=i")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_RECEIVE_SIZE = 65536  # bytes
_DUMP_RECEIVE_SIZE = 131072  # bytes: the alternative names of one device alone may have 64 KiB
_PIPELINE = 32  # requests whose answers fit into the smallest receive buffer


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the kernel; `error` is the errno of a refused request, or 0.

    `is_interrupted` is True in a dump during which the dumped objects have changed.
    """

    type: int
    sequence: int
    body: bytes
    error: int = 0
    is_interrupted: bool = False


class NetlinkConnection:
    """A netlink socket for requests; the kernel answers each request before the send returns.

    Opening it raises OSError. Use it in a `with` block.
    """

    def __init__(self) -> None:
        self._socket = _open_socket()

    def __enter__(self) -> NetlinkConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, message_type: int, bodies: Sequence[bytes], flags: int = 0) -> list[Message]:
        """Return the answer to each request. With NLM_F_ACK in `flags`, an answer has only its `error`.

        Raises OSError if the kernel does not answer.
        """
        answers: list[Message] = []
        for first in range(0, len(bodies), _PIPELINE):
            part = bodies[first : first + _PIPELINE]
            self._socket.send(
                b"".join(
                    _encode(message_type, NLM_F_REQUEST | flags, number, body)
                    for number, body in enumerate(part)
                )
            )
            answers += self._receive(len(part))
        return answers

    def dump(self, message_type: int, body: bytes) -> list[Message]:
        """Return all messages that answer one request.

        Raises OSError, which is InterruptedError if the objects have changed meanwhile: some may be missing.
        """
        self._socket.send(_encode(message_type, NLM_F_REQUEST | NLM_F_DUMP, 0, body))
        found: list[Message] = []
        is_interrupted = False
        while True:
            for message in decode(self._socket.recv(_DUMP_RECEIVE_SIZE)):
                is_interrupted |= message.is_interrupted
                if message.error:
                    raise OSError(message.error, os.strerror(message.error))
                if message.type in (NLMSG_DONE, NLMSG_ERROR):
                    if is_interrupted:
                        raise InterruptedError(errno.EINTR, "the dump was interrupted by a change")
                    return found
                found.append(message)

    def _receive(self, count: int) -> list[Message]:
        answers: dict[int, Message] = {}
        while len(answers) < count:
            for message in decode(self._socket.recv(_RECEIVE_SIZE)):
                answers[message.sequence] = message
        return [answers[number] for number in range(count)]


class Subscription:
    """A netlink socket for the messages of some groups, which are switched on and off. Raises OSError."""

    def __init__(self, *groups: int) -> None:
        self._socket = _open_socket()
        self._groups = groups
        self._is_on = False

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._socket.fileno()

    def switch(self, is_on: bool) -> None:
        """Begin or end to receive messages."""
        option = NETLINK_ADD_MEMBERSHIP if is_on else NETLINK_DROP_MEMBERSHIP
        if is_on != self._is_on:
            for group in self._groups:
                self._socket.setsockopt(SOL_NETLINK, option, group)
        self._is_on = is_on

    def filter(self, program: list[FilterInstruction]) -> None:
        """Receive only the messages that a program accepts."""
        attach(self._socket, program)

    def read(self) -> list[Message] | None:
        """Return all messages that have arrived, or None if messages were lost."""
        messages: list[Message] = []
        is_complete = True
        while True:
            try:
                messages += decode(self._socket.recv(_RECEIVE_SIZE))
            except BlockingIOError:
                return messages if is_complete else None
            except OSError:  # ENOBUFS: there was no room
                is_complete = False


def _open_socket() -> socket.socket:
    opened = socket.socket(
        socket.AF_NETLINK,
        socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        socket.NETLINK_ROUTE,
    )
    opened.bind((0, 0))
    return opened


def decode(datagram: bytes) -> Iterator[Message]:
    """Yield the messages of a datagram."""
    position = 0
    while position < len(datagram):
        length, message_type, flags, sequence, _ = _HEADER.unpack_from(datagram, position)
        body = datagram[position + _HEADER.size : position + length]
        error = -_ERROR.unpack_from(body)[0] if message_type in (NLMSG_ERROR, NLMSG_DONE) else 0
        yield Message(message_type, sequence, body, error, bool(flags & NLM_F_DUMP_INTR))
        position += _align(length)


def attribute(attribute_type: int, value: bytes) -> bytes:
    """Return an attribute, padded for the next one."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, attribute_type) + value + bytes(_align(length) - length)


def attributes(body: bytes, position: int) -> dict[int, bytes]:
    """Return the attributes of a message by type. They begin at `position`, after the fixed fields."""
    return dict(each_attribute(body, position))


def each_attribute(body: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes of a message, whose types may be repeated, with their values."""
    while position + _ATTRIBUTE.size <= len(body):
        length, attribute_type = _ATTRIBUTE.unpack_from(body, position)
        yield attribute_type & _TYPE_MASK, body[position + _ATTRIBUTE.size : position + length]
        position += _align(length)


def _encode(message_type: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), message_type, flags, sequence, 0) + body


def _align(length: int) -> int:
    return length + 3 & ~3
