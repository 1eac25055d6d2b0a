"""Trace events in shared memory: a ring that one worker writes and any number of readers follow.

The writer never waits: it overwrites the oldest event, and a reader that was overtaken counts what it missed.
A slot is marked before it is overwritten and numbered after, so that a reader who finds its number on both
sides of a copy has a whole event. All that is not said here (which packets, how many) is the worker's affair.

    0      written, skipped: how many events were written, and how many there was no time for
    4096   1024 slots of 2048 octets: a head, up to 64 outcomes, and of the packet, from its IP header on,
           what still fits
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

from mcrelay.model.drops import Drop

SLOTS, SLOT_SIZE, FIRST_SLOT = 1024, 2048, 4096
MEMORY_SIZE = FIRST_SLOT + SLOTS * SLOT_SIZE
MOST_OUTCOMES = 64
BURST, A_SECOND = 256, 2000  # events that a worker may write of a rule

SENT, EXPIRED = 0, 0xFFFF  # codes of an outcome; the others are errnos
NO_VLAN = 0xFFFF

_NUMBER = struct.Struct("=Q")
_HEAD = struct.Struct("=QQIIIIHHHHHHBBBB")
_OUTCOME = struct.Struct("=IIHH")
_WRITTEN, _SKIPPED = 0, 8
_BEING_WRITTEN = _NUMBER.pack(0xFFFF_FFFF_FFFF_FFFF)


class PacketVerdict(IntEnum):
    """What became of a packet: relayed, or why not."""

    RELAYED = 0
    NO_RULE = 1
    TAGGED = 2
    FRAGMENT = 3
    MALFORMED = 4
    OVERSIZE = 5
    SOURCE = 6
    OWN = 7

    @property
    def drop(self) -> Drop | None:
        """The counter that a packet with this verdict is found in; None where it was relayed."""
        return _DROPS.get(self)

    @property
    def has_ports(self) -> bool:
        """Whether the UDP header of such a packet can be trusted to be one."""
        return self not in (PacketVerdict.FRAGMENT, PacketVerdict.MALFORMED)


_DROPS = {
    PacketVerdict.NO_RULE: Drop.NO_RULE,
    PacketVerdict.TAGGED: Drop.NO_RULE,
    PacketVerdict.FRAGMENT: Drop.FRAGMENT,
    PacketVerdict.MALFORMED: Drop.MALFORMED,
    PacketVerdict.OVERSIZE: Drop.OVERSIZE,
    PacketVerdict.SOURCE: Drop.SOURCE,
    PacketVerdict.OWN: Drop.OWN,
}


class Outcome(NamedTuple):
    """What became of one output's datagram. Addresses are numbers."""

    destination: int
    ifindex: int
    port: int
    code: int
    """SENT, EXPIRED, or the errno with which the kernel refused it."""


class Head(NamedTuple):
    """What a packet said of itself, and what was decided. Addresses are numbers."""

    time: int
    """When it came: CLOCK_REALTIME, nanoseconds."""
    ifindex: int
    source: int
    destination: int
    length: int
    """Octets from the IP header on, as they were on the wire."""
    payload: int
    """Octets of UDP payload, if the verdict `has_ports`."""
    source_port: int
    destination_port: int
    vlan: int
    """Number of the VLAN, or NO_VLAN."""
    verdict: PacketVerdict
    ttl: int
    tos: int


@dataclass(frozen=True, slots=True)
class Event:
    """A packet and what became of it."""

    head: Head
    outcomes: tuple[Outcome, ...]
    outputs: int
    """How many outputs there are; only the first MOST_OUTCOMES outcomes are kept."""
    packet: bytes
    """From the IP header on, as much of it as was kept."""


class Writer:
    """The one writer of a ring. After the death of another it goes on with that one's numbers."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._written = _number(memory, _WRITTEN)
        self._skipped = _number(memory, _SKIPPED)

    def write(self, event: Event) -> None:
        """Add an event."""
        memory, at = self._memory, _place(self._written)
        listed = event.outcomes[:MOST_OUTCOMES]
        outcomes = b"".join(_OUTCOME.pack(*outcome) for outcome in listed)
        room = SLOT_SIZE - _HEAD.size - len(outcomes)
        packet = event.packet[:room]
        *fields, verdict, ttl, tos = event.head
        head = _HEAD.pack(self._written, *fields, event.outputs, len(packet), verdict, ttl, tos, len(listed))
        content = head[_NUMBER.size :] + outcomes + packet
        memory[at : at + _NUMBER.size] = _BEING_WRITTEN
        memory[at + _NUMBER.size : at + _NUMBER.size + len(content)] = content
        memory[at : at + _NUMBER.size] = head[: _NUMBER.size]
        self._written += 1
        memory[_WRITTEN : _WRITTEN + _NUMBER.size] = _NUMBER.pack(self._written)

    def skip(self, count: int) -> None:
        """Say that so many events are not written."""
        self._skipped += count
        self._memory[_SKIPPED : _SKIPPED + _NUMBER.size] = _NUMBER.pack(self._skipped)


class RateLimit:
    """How many events a trace may write: a burst at once, and from then on so many a second.

    It is far more than anyone reads, and little beside what relaying the packets costs.
    """

    def __init__(self) -> None:
        self._saved = float(BURST)
        self._time = 0

    def granted(self, wanted: int, now: int) -> int:
        """Return how many of the `wanted` events may be written now (nanoseconds, of any clock)."""
        elapsed = max(0, now - self._time)  # a clock that is set back grants nothing
        self._saved = min(float(BURST), self._saved + elapsed * A_SECOND / 1e9)
        self._time = now
        granted = min(wanted, int(self._saved))
        self._saved -= granted
        return granted


class Reader:
    """One reader of a ring, who sees all that is written from now on, or from the beginning."""

    def __init__(self, memory: memoryview, from_the_beginning: bool = False) -> None:
        self._memory = memory
        self._next = 0 if from_the_beginning else _number(memory, _WRITTEN)
        self._skipped_before = 0 if from_the_beginning else _number(memory, _SKIPPED)
        self._missed = 0

    @property
    def lost(self) -> int:
        """How many events this reader will never see: overwritten before it came, or not written at all."""
        return self._missed + _number(self._memory, _SKIPPED) - self._skipped_before

    def read(self, most: int) -> list[Event]:
        """Return the next events, `most` of them at the most."""
        return list(islice(self._events(), most))

    def _events(self) -> Iterator[Event]:
        written = _number(self._memory, _WRITTEN)
        self._miss(written - SLOTS - self._next)
        while self._next < written:
            at, number = _place(self._next), _NUMBER.pack(self._next)
            slot = bytes(self._memory[at : at + SLOT_SIZE])
            is_whole = bytes(self._memory[at : at + _NUMBER.size]) == number
            self._next += 1
            if is_whole:
                yield _event(slot)
            else:
                self._missed += 1

    def _miss(self, count: int) -> None:
        """Pass over what has been overwritten."""
        if count > 0:
            self._missed += count
            self._next += count


def _event(slot: bytes) -> Event:
    """Read a slot. What wrote it also parses packets, so that nothing in it is taken for sound."""
    _, *fields, outputs, captured, verdict, ttl, tos, listed = _HEAD.unpack_from(slot)
    end = _HEAD.size + min(listed, MOST_OUTCOMES) * _OUTCOME.size
    outcomes = tuple(map(Outcome._make, _OUTCOME.iter_unpack(slot[_HEAD.size : end])))
    known = PacketVerdict(verdict) if verdict <= max(PacketVerdict) else PacketVerdict.MALFORMED
    return Event(Head._make((*fields, known, ttl, tos)), outcomes, outputs, slot[end : end + captured])


def _place(number: int) -> int:
    return FIRST_SLOT + number % SLOTS * SLOT_SIZE


def _number(memory: memoryview, at: int) -> int:
    (number,) = _NUMBER.unpack(bytes(memory[at : at + _NUMBER.size]))
    return int(number)
