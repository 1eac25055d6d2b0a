"""A reader of a trace ring gets whole events in order, and counts every event that it does not get."""

import random
import struct
from collections import deque
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mcrelay.tracing.events import (
    EXPIRED,
    MAX_OUTCOMES,
    NO_VLAN,
    SENT,
    Event,
    Head,
    PacketVerdict,
    SendOutcome,
)
from mcrelay.tracing.ring import FIRST_SLOT, SLOT_SIZE, SLOTS, TRACE_RING_SIZE, Reader, Writer

HEAD = Head(1_700_000_000_123_456_789, 2, 0xC0A8A837, 0xEF010101, 1428, 1400, 4000, 5001, NO_VLAN,
            PacketVerdict.RELAYED, 1, 0xB8)  # fmt: skip
OUTCOMES = (
    SendOutcome(0xEF020202, 3, 6001, SENT),
    SendOutcome(0xEF020203, 4, 6001, 100),
    SendOutcome(1, 5, 9, EXPIRED),
)
EVENT = Event(HEAD, OUTCOMES, 3, b"E" * 1428)


def numbered(number):
    """Return an event with its number in every part, so that a mixture of two events is detected."""
    outcomes = tuple(SendOutcome(number, number, number, number) for _ in range(number % 4))
    octets = struct.pack("<Q", number) * (220 + number % 3)
    return Event(HEAD._replace(time=number, ifindex=number), outcomes, len(outcomes), octets)


def memory():
    return memoryview(bytearray(TRACE_RING_SIZE))


def test_a_written_event_is_read_with_all_its_fields():
    shared = memory()
    reader = Reader(shared)
    Writer(shared).write(EVENT)
    assert reader.read(10) == [EVENT]
    assert reader.read(10) == []
    assert reader.lost == 0


@given(st.lists(st.integers(0, 5), max_size=30))
def test_each_reader_gets_the_events_written_after_its_creation(counts):
    shared, first, second, total = memory(), [], [], 0
    writer = Writer(shared)
    early = Reader(shared)
    for count in counts:
        late = Reader(shared)
        for _ in range(count):
            writer.write(numbered(total))
            total += 1
        first += early.read(3)
        second += late.read(100)
    first += early.read(1000)
    assert first == second == [numbered(number) for number in range(total)]
    assert early.lost == 0


def test_a_reader_that_was_overtaken_counts_the_events_it_missed():
    shared = memory()
    reader, writer = Reader(shared), Writer(shared)
    for number in range(SLOTS + 10):
        writer.write(numbered(number))
    events = reader.read(2 * SLOTS)
    assert events == [numbered(number) for number in range(10, SLOTS + 10)]
    assert reader.lost == 10


def test_skipped_events_are_lost_to_the_readers_that_existed():
    shared = memory()
    writer = Writer(shared)
    early = Reader(shared)
    writer.skip(5)
    late = Reader(shared)
    writer.skip(2)
    assert (early.lost, late.lost) == (7, 2)


def test_a_reader_can_start_with_the_oldest_event_in_the_ring():
    shared = memory()
    writer = Writer(shared)
    for number in range(SLOTS + 5):
        writer.write(numbered(number))
    writer.skip(2)
    reader = Reader(shared, from_the_beginning=True)
    assert [event.head.time for event in reader.read(2)] == [5, 6]
    assert reader.lost == 5 + 2


def test_a_successor_continues_where_the_dead_writer_stopped():
    shared = memory()
    reader, dead = Reader(shared), Writer(shared)
    dead.write(numbered(0))
    dead.skip(3)
    shared[FIRST_SLOT + SLOT_SIZE : FIRST_SLOT + SLOT_SIZE + 8] = (
        b"\xff" * 8
    )  # it died while it wrote the next event
    assert reader.read(10) == [numbered(0)]
    successor = Writer(shared)
    successor.write(numbered(1))
    successor.skip(1)
    assert reader.read(10) == [numbered(1)]
    assert reader.lost == 4


def test_a_packet_is_cut_to_what_fits_a_slot():
    shared = memory()
    reader, writer = Reader(shared), Writer(shared)
    writer.write(replace(EVENT, packet=b"x" * 9000))
    writer.write(replace(EVENT, outcomes=(), packet=b"x" * 9000))
    short, longer = reader.read(2)
    assert len(longer.packet) == len(short.packet) + 12 * len(OUTCOMES) == SLOT_SIZE - 48
    assert short.head == longer.head == HEAD


def test_an_event_keeps_the_first_outcomes_and_counts_all_outputs():
    shared = memory()
    reader = Reader(shared)
    outcomes = tuple(SendOutcome(number, 1, 1, SENT) for number in range(100))
    Writer(shared).write(Event(HEAD, outcomes, 100, b"packet"))
    (event,) = reader.read(1)
    assert event == Event(HEAD, outcomes[:MAX_OUTCOMES], 100, b"packet")


@given(st.binary(min_size=64, max_size=64), st.integers(0, 2**64 - 1))
def test_a_reader_survives_any_content_of_the_ring(slot, written):
    shared = memory()
    shared[FIRST_SLOT + 8 : FIRST_SLOT + 8 + len(slot)] = slot
    reader = Reader(shared)
    shared[:8] = struct.pack("=Q", written)
    for event in reader.read(2 * SLOTS):
        assert event.head.verdict in PacketVerdict
        assert len(event.outcomes) <= MAX_OUTCOMES


class Store(deque):
    """Memory that only records its stores, in pieces of eight octets."""

    def __init__(self, shared):
        super().__init__()
        self._shared = shared

    def __getitem__(self, place):
        return self._shared[place]

    def __setitem__(self, place, octets):
        for at in range(0, len(octets), 8):
            self.append((place.start + at, octets[at : at + 8]))


class Racing:
    """Memory that changes while it is read: before each 64 octets of a load, some stores are carried out."""

    def __init__(self, shared, stores, speed, chance):
        self._shared, self._stores = shared, stores
        self._speed, self._chance = speed, chance

    def __getitem__(self, place):
        pieces = []
        for at in range(place.start, place.stop, 64):
            self.carry_out(self._chance.choice((0, 0, self._speed)))
            pieces.append(bytes(self._shared[at : min(at + 64, place.stop)]))
        return b"".join(pieces)

    def carry_out(self, count):
        for _ in range(min(count, len(self._stores))):
            at, octets = self._stores.popleft()
            self._shared[at : at + len(octets)] = octets


@settings(max_examples=40)
@given(
    before=st.sampled_from([0, 1, SLOTS - 1, SLOTS, SLOTS + 7]),
    ahead=st.sampled_from([0, 3, SLOTS - 3, SLOTS]),
    after=st.integers(1, 20),
    speed=st.sampled_from([0, 1, 7, 60]),
    seed=st.integers(0, 2**32),
)
def test_a_reader_that_races_the_writer_gets_whole_events_in_order_and_counts_the_others(
    before, ahead, after, speed, seed
):
    shared, chance = memory(), random.Random(seed)
    writer = Writer(shared)
    for number in range(before):
        writer.write(numbered(number))
    stores = Store(shared)
    racing = Racing(shared, stores, speed, chance)
    reader = Reader(shared)
    for number in range(before, before + ahead):
        writer.write(numbered(number))
    rival = Writer(stores)
    total = before + ahead + after
    for number in range(before + ahead, total):
        rival.write(numbered(number))
    reader._memory = racing
    events = []
    while stores or reader._next < total:
        events += reader.read(chance.randrange(1, 50))
        racing.carry_out(1)
    numbers = [event.head.time for event in events]
    assert numbers == sorted(set(numbers))
    assert events == [numbered(number) for number in numbers]
    assert len(events) + reader.lost == ahead + after
