"""Framing of the messages between the supervisor and its child processes, which is the same for all children.

A message is JSON text with file descriptors. It is cut into packets of a SOCK_SEQPACKET socket. The first
octet of a packet is its mark: `+` if more packets of the message follow, `.` in the last packet. The
descriptors are sent with the packets (SCM_RIGHTS), in the order in which the message names them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PROCESS_PROTOCOL = 3
"""The version of the messages between the daemon's processes, and of the snapshot.

Increase it with every change of these: after an upgrade of the files on disk, a supervisor of the old version
may start children of the new version.
"""
MAX_PIECE = 32_768  # octets; well below the default send buffer of 212,992 (net.core.wmem_default)
MAX_PACKET = MAX_PIECE + 1  # octets, with the mark
MAX_DESCRIPTORS = 250  # in a packet; SCM_MAX_FD of net/scm.h is 253
MAX_ANSWER = 4096  # octets of a message from a child
MAX_BATCH = 256 << 20  # octets of a message from the supervisor

_MORE, _LAST = b"+", b"."

Fields = list[Any]


class WireError(Exception):
    """The peer sent a message that does not conform to the protocol."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a child, which has verified that it is unprivileged and now accepts messages."""

    protocol: int

    def must_match(self) -> None:
        """Raise WireError if the child's version of the protocol differs from that of this process.

        They differ if the files on disk were upgraded since this process started: a restarted child then runs
        the new version.
        """
        if self.protocol != PROCESS_PROTOCOL:
            raise WireError(
                f"it speaks protocol {self.protocol}, and the supervisor {PROCESS_PROTOCOL}:"
                " the installed version of mcrelay differs from the running one; restart the daemon"
            )


@dataclass(frozen=True, slots=True)
class Packet:
    """A piece of a message, and the descriptors that sendmsg(2) sends with it."""

    data: bytes
    descriptors: tuple[int, ...] = ()


def parse_json(text: bytes) -> object:
    """Return the value of a message from a child. Raises WireError if the message is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"the message is not JSON: {error}") from None


def cut_into_packets(text: bytes, descriptors: Sequence[int] = ()) -> list[Packet]:
    """Return the packets of a message, at least one, in the order in which they must be sent."""
    pieces = [text[at : at + MAX_PIECE] for at in range(0, len(text), MAX_PIECE)] or [b""]
    groups = [
        tuple(descriptors[at : at + MAX_DESCRIPTORS]) for at in range(0, len(descriptors), MAX_DESCRIPTORS)
    ]
    count = max(len(pieces), len(groups))
    pieces += [b""] * (count - len(pieces))
    groups += [()] * (count - len(groups))
    return [
        Packet((_LAST if at == count - 1 else _MORE) + piece, group)
        for at, (piece, group) in enumerate(zip(pieces, groups, strict=True))
    ]


class Assembler:
    """Joins the packets of a message of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._descriptors: list[int] = []
        self._size = 0

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> tuple[bytes, list[int]] | None:
        """Add a packet. Return the message and its descriptors if the packet completes it, else None.

        Raises WireError if the packet has no valid mark, or if the message exceeds the limit.
        """
        mark, piece = data[:1], data[1:]
        if mark not in (_MORE, _LAST):
            raise WireError("a packet begins with neither `+` nor `.`")
        self._size += len(data)  # with the marks, so that the number of empty packets is limited, too
        if self._size > self._limit:
            raise WireError(f"a message is longer than {self._limit} bytes")
        self._pieces.append(piece)
        self._descriptors += descriptors
        if mark == _MORE:
            return None
        whole = b"".join(self._pieces), self._descriptors
        self._pieces, self._descriptors, self._size = [], [], 0
        return whole
