"""A message of any size, cut into packets, arrives whole and with its descriptors."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcrelay.protocol.framing import (
    MAX_DESCRIPTORS,
    MAX_PACKET,
    MAX_PIECE,
    PROCESS_PROTOCOL,
    Assembler,
    Hello,
    Packet,
    WireError,
    cut_into_packets,
)


def assemble(parts, limit):
    assembler = Assembler(limit)
    *early, last = [assembler.feed(part.data, part.descriptors) for part in parts]
    assert early == [None] * len(early)
    return last


@given(
    st.binary(max_size=50) | st.integers(0, 3 * MAX_PIECE).map(bytes), st.integers(0, 3 * MAX_DESCRIPTORS + 1)
)
@example(b"", 0)
@example(bytes(MAX_PIECE), MAX_DESCRIPTORS)
@example(bytes(MAX_PACKET), MAX_DESCRIPTORS + 1)
def test_a_message_of_any_length_arrives_whole_with_its_descriptors_in_order(text, count):
    parts = cut_into_packets(text, range(count))
    assert all(1 <= len(part.data) <= MAX_PACKET for part in parts)
    assert all(len(part.descriptors) <= MAX_DESCRIPTORS for part in parts)
    assert assemble(parts, len(text) + len(parts)) == (text, list(range(count)))


@given(st.lists(st.tuples(st.binary(max_size=20), st.lists(st.integers(3, 99), max_size=3)), max_size=5))
def test_messages_that_follow_one_another_stay_apart(messages):
    assembler = Assembler(100)
    for text, descriptors in messages:
        for part in cut_into_packets(text, descriptors)[:-1]:
            assert assembler.feed(part.data, part.descriptors) is None
        last = cut_into_packets(text, descriptors)[-1]
        assert assembler.feed(last.data, last.descriptors) == (text, descriptors)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=8))
def test_pieces_of_any_size_are_put_together(pieces):
    parts = [Packet(b"+" + piece) for piece in pieces[:-1]] + [Packet(b"." + pieces[-1])]
    assert assemble(parts, 100) == (b"".join(pieces), [])


@given(st.integers(1, 40), st.integers(0, 40))
def test_a_message_beyond_the_limit_is_an_error_and_one_within_it_is_not(limit, size):
    if size + 1 <= limit:
        assert assemble(cut_into_packets(bytes(size)), limit) == (bytes(size), [])
    else:
        with pytest.raises(WireError, match=f"longer than {limit} bytes"):
            Assembler(limit).feed(b"." + bytes(size))


def test_packets_without_content_count_towards_the_limit():
    assembler = Assembler(100)
    assert [assembler.feed(b"+") for _ in range(100)] == [None] * 100
    with pytest.raises(WireError, match="longer"):
        assembler.feed(b"+")


@given(st.binary(max_size=8).filter(lambda data: data[:1] not in (b"+", b".")))
def test_a_packet_without_a_mark_is_an_error(data):
    with pytest.raises(WireError, match=r"neither `\+`"):
        Assembler(100).feed(data)


def test_a_child_of_another_protocol_is_an_error_that_says_what_to_do():
    Hello(PROCESS_PROTOCOL).must_match()
    with pytest.raises(
        WireError, match=f"protocol 9, and the supervisor {PROCESS_PROTOCOL}: .*; restart the daemon$"
    ):
        Hello(9).must_match()
