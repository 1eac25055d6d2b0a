"""Framing of the messages between the supervisor and its children, and what both protocols share.

A message is text (JSON) with file descriptors. It is cut into packets of a SOCK_SEQPACKET socket: each packet
begins with one octet, `+` where more packets of the message follow and `.` in the last one. Descriptors
travel beside the packets (SCM_RIGHTS), in the order in which the message names them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PROTOCOL = 2
"""The version of the messages between the daemon's processes, and of the snapshot.

It changes with them, because an upgrade replaces the code of child processes that start later, while an
older supervisor runs.
"""
MAX_PIECE = 32_768  # octets; well below the 212,992 that a socket takes by default (net.core.wmem_default)
MAX_PACKET = MAX_PIECE + 1  # octets, the mark included
MAX_DESCRIPTORS = 250  # in a packet; SCM_MAX_FD of net/scm.h is 253
MAX_ANSWER = 4096  # octets of a message from a child
MAX_BATCH = 256 << 20  # octets of a message from the supervisor

_MORE, _LAST = b"+", b"."

Fields = list[Any]


class WireError(Exception):
    """The peer sent data that the protocol does not allow."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a child: it has proved that it has no privilege, and is ready for descriptors."""

    protocol: int

    def must_match(self) -> None:
        """Raise WireError where the child speaks another protocol than this process.

        That happens after an upgrade of the files on disk: a child that starts again is of the new version.
        """
        if self.protocol != PROTOCOL:
            raise WireError(
                f"it speaks protocol {self.protocol}, and the supervisor {PROTOCOL}:"
                " the installed mcrelay is of another version than the one that runs; restart it"
            )


@dataclass(frozen=True, slots=True)
class Packet:
    """What one sendmsg(2) carries: a piece of a message, and descriptors."""

    data: bytes
    descriptors: tuple[int, ...] = ()


def parse_json(text: bytes) -> object:
    """Return the value of a message from a child; raises WireError where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"it is no JSON: {error}") from None


def cut_into_packets(text: bytes, descriptors: Sequence[int] = ()) -> list[Packet]:
    """Return the packets of a message, in the order in which they have to be sent; there is at least one."""
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
    """Joins the packets of a message of at most `limit` octets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._descriptors: list[int] = []
        self._size = 0

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> tuple[bytes, list[int]] | None:
        """Take a packet; return the message and its descriptors when it is complete. Raises WireError."""
        mark, piece = data[:1], data[1:]
        if mark not in (_MORE, _LAST):
            raise WireError("a packet begins with neither mark of the protocol")
        self._size += len(data)  # with the mark, or a message of empty pieces would have no limit
        if self._size > self._limit:
            raise WireError(f"a message is longer than {self._limit} octets")
        self._pieces.append(piece)
        self._descriptors += descriptors
        if mark == _MORE:
            return None
        whole = b"".join(self._pieces), self._descriptors
        self._pieces, self._descriptors, self._size = [], [], 0
        return whole
