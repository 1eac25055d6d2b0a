"""Each message is decoded as it was encoded, and no message of a worker harms the supervisor."""

import json
import string
from dataclasses import astuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcrelay.model.actions import Open, SetFlow
from mcrelay.protocol.framing import (
    MAX_ANSWER,
    Assembler,
    Hello,
    WireError,
    cut_into_packets,
)
from mcrelay.protocol.worker import (
    MAX_REASON,
    Acknowledged,
    BatchMessage,
    Instruction,
    Refused,
    decode_answer,
    decode_batch,
    encode_answer,
    encode_batch,
)
from tests.support.strategies import worker_actions

numbers = st.integers(0, 2**63)
rows = st.lists(st.integers(0, 2**18), max_size=4).map(tuple)


@st.composite
def instructions(draw):
    match action := draw(worker_actions):
        case Open():
            return Instruction(action, draw(rows), draw(st.booleans()))
        case SetFlow():
            return Instruction(action, draw(rows))
        case _:
            return Instruction(action)


batches = st.builds(BatchMessage, numbers, numbers, st.lists(instructions(), max_size=6).map(tuple))
reasons = st.text(st.sampled_from(string.printable[:95] + "äß€中𝄞"), max_size=MAX_REASON)
answers = (
    st.builds(Hello, numbers)
    | st.builds(Acknowledged, numbers)
    | st.builds(Refused, numbers, numbers, reasons)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(batches)
def test_a_worker_decodes_the_batch_that_was_sent(batch):
    assert decode_batch(encode_batch(batch)) == batch


def test_an_instruction_of_another_protocol_is_an_error():
    with pytest.raises(WireError, match="unknown instruction in a batch"):
        decode_batch(b'[1,1,[["dance",0]]]')


@given(answers)
def test_the_supervisor_decodes_the_answer_that_was_sent(answer):
    assert decode_answer(encode_answer(answer)) == answer


@given(st.text(max_size=2 * MAX_REASON))
@example("𝄞" * 1000)
@example("\0" * 1000)
def test_an_answer_has_room_for_any_reason(reason):
    text = encode_answer(Refused(2**63, 2**63, reason))
    assert [
        decoded for packet in cut_into_packets(text) if (decoded := Assembler(MAX_ANSWER).feed(packet.data))
    ]
    assert isinstance(decode_answer(text), Refused)


@given(st.text())
@example("x\n<0>forged\x1b[31m\ud800")
def test_a_reason_forges_no_line_of_the_log(reason):
    decoded = decode_answer(json.dumps(["refused", 1, 0, reason]).encode())
    assert decoded.reason.isprintable()
    assert len(decoded.reason) == len(reason)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"\x00",
        b"{",
        b"null",
        b"7",
        b'"hello"',
        b"{}",
        b"[]",
        b'["hello"]',
        b'["hello", 1, 2]',
        b'["hello", "1"]',
        b'["hello", 1.0]',
        b'["hello", NaN]',
        b'["hello", true]',
        b'["acknowledged", null]',
        b'["acknowledged", false]',
        b'["acknowledged", [1]]',
        b'["refused", 1, 0]',
        b'["refused", 1, 0, 5]',
        b'["refused", 1, true, "no"]',
        b'["refused", true, 1, "no"]',
        b'["Hello", 1]',
        b'[["hello"], 1]',
        b'{"hello": 1}',
        b"[" * 100_000,
        b'["acknowledged", ' + b"9" * 100_000 + b"]",
    ],
    ids=lambda text: repr(text[:28]),
)
def test_an_unknown_answer_is_an_error_of_the_protocol(text):
    with pytest.raises(WireError):
        decode_answer(text)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_an_answer_or_an_error_of_the_protocol(text):
    try:
        answer = decode_answer(text)
    except WireError:
        return
    assert isinstance(answer, Hello | Acknowledged | Refused)


@given(st.sampled_from(["hello", "acknowledged", "refused"]), st.lists(json_values, max_size=4))
def test_a_number_in_an_answer_is_an_integer(word, values):
    try:
        answer = decode_answer(json.dumps([word, *values]).encode())
    except WireError:
        return
    numbers = [value for value in astuple(answer) if not isinstance(value, str)]
    assert numbers == values[: len(numbers)]
    assert {type(value) for value in values} <= {int, str}
