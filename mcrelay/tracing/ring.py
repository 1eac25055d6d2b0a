"""Trace events in shared memory: a ring that one worker writes and any number of readers follow.

The writer never waits. It overwrites the oldest event, and a reader counts the events that it missed. The
writer marks a slot before it overwrites the slot, and numbers the slot afterwards. A reader that copies a
slot and then still finds the expected number in the slot has a whole event.

    0      written, skipped: number of events written, and number of events that the rate limit excluded
    4096   1024 slots of 2048 octets: a head, up to 64 outcomes, and as much of the packet, from its IP header
           on, as still fits
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from mcrelay.tracing.events import MAX_OUTCOMES, Event, Head, PacketVerdict, SendOutcome

SLOTS = 1024
SLOT_SIZE, FIRST_SLOT = 2048, 4096  # octets
TRACE_RING_SIZE = FIRST_SLOT + SLOTS * SLOT_SIZE  # octets

_NUMBER = struct.Struct("=Q")
_HEAD = struct.Struct("=QQIIIIHHHHHHBBBB")
_OUTCOME = struct.Struct("=IIHH")
_WRITTEN, _SKIPPED = 0, 8  # offsets of the two counts, in octets
_BEING_WRITTEN = _NUMBER.pack(0xFFFF_FFFF_FFFF_FFFF)


class Writer:
    """The only writer of a ring. It continues the numbers of a writer that died."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._written = _read_number(memory, _WRITTEN)
        self._skipped = _read_number(memory, _SKIPPED)

    def write(self, event: Event) -> None:
        """Add an event."""
        memory, at = self._memory, _slot_offset(self._written)
        listed = event.outcomes[:MAX_OUTCOMES]
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
        """Count events that are not written."""
        self._skipped += count
        self._memory[_SKIPPED : _SKIPPED + _NUMBER.size] = _NUMBER.pack(self._skipped)


class Reader:
    """A reader of the events that are written after its creation, or of all events still in the ring."""

    def __init__(self, memory: memoryview, from_the_beginning: bool = False) -> None:
        self._memory = memory
        self._next = 0 if from_the_beginning else _read_number(memory, _WRITTEN)
        self._skipped_before = 0 if from_the_beginning else _read_number(memory, _SKIPPED)
        self._missed = 0

    @property
    def lost(self) -> int:
        """The number of events that this reader missed, overwritten before it read them or never written."""
        return self._missed + _read_number(self._memory, _SKIPPED) - self._skipped_before

    def read(self, limit: int) -> list[Event]:
        """Return the next events, at most `limit`."""
        return list(islice(self._events(), limit))

    def _events(self) -> Iterator[Event]:
        written = _read_number(self._memory, _WRITTEN)
        self._skip_overwritten(written - SLOTS - self._next)
        while self._next < written:
            at, number = _slot_offset(self._next), _NUMBER.pack(self._next)
            slot = bytes(self._memory[at : at + SLOT_SIZE])
            is_whole = bytes(self._memory[at : at + _NUMBER.size]) == number
            self._next += 1
            if is_whole:
                yield _parse_slot(slot)
            else:
                self._missed += 1

    def _skip_overwritten(self, count: int) -> None:
        if count > 0:
            self._missed += count
            self._next += count


def _parse_slot(slot: bytes) -> Event:
    """Return the event of a slot. Any content is accepted, because the writer also parses packets."""
    _, *fields, outputs, captured, verdict, ttl, tos, listed = _HEAD.unpack_from(slot)
    end = _HEAD.size + min(listed, MAX_OUTCOMES) * _OUTCOME.size
    outcomes = tuple(map(SendOutcome._make, _OUTCOME.iter_unpack(slot[_HEAD.size : end])))
    known = PacketVerdict(verdict) if verdict <= max(PacketVerdict) else PacketVerdict.MALFORMED
    return Event(Head._make((*fields, known, ttl, tos)), outcomes, outputs, slot[end : end + captured])


def _slot_offset(number: int) -> int:
    return FIRST_SLOT + number % SLOTS * SLOT_SIZE


def _read_number(memory: memoryview, at: int) -> int:
    (number,) = _NUMBER.unpack(bytes(memory[at : at + _NUMBER.size]))
    return int(number)
