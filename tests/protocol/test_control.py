"""Each message is decoded as it was encoded, and no message of the control process harms the supervisor."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.protocol.control import (
    Counters,
    KernelCounters,
    Mark,
    MarkAnswer,
    SetListener,
    SetOtherDaemons,
    SnapshotChanged,
    TraceRule,
    TraceState,
    decode_to_control,
    decode_to_supervisor,
    encode_to_control,
    encode_to_supervisor,
)
from mcrelay.protocol.framing import Hello, WireError

numbers = st.integers(0, 2**63)
texts = st.text(max_size=20)
to_control = (
    st.just(SetListener())
    | st.just(SetOtherDaemons())
    | st.builds(Counters, numbers)
    | st.builds(KernelCounters, numbers, texts)
    | st.builds(SnapshotChanged, st.dictionaries(texts, texts | numbers, max_size=3))
    | st.builds(MarkAnswer, numbers, numbers)
    | st.builds(TraceState, texts, numbers, st.lists(numbers, max_size=3).map(tuple), texts)
)
to_supervisor = (
    st.builds(Hello, numbers) | st.builds(Mark, numbers) | st.builds(TraceRule, texts, st.booleans())
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(to_control)
def test_the_control_process_decodes_the_message_that_was_sent(message):
    assert decode_to_control(encode_to_control(message)) == message


def test_a_value_that_is_converted_when_it_is_sent_arrives_as_json():
    message = SnapshotChanged(
        {"statuses": {"set": {"feed": RuleStatus(RuleState.ACTIVE, "device eth0 is down")}}}
    )
    sections = {"statuses": {"set": {"feed": ["active", "device eth0 is down"]}}}
    assert decode_to_control(encode_to_control(message)) == SnapshotChanged(sections)


@given(to_supervisor)
def test_the_supervisor_decodes_the_message_that_was_sent(message):
    assert decode_to_supervisor(encode_to_supervisor(message)) == message


@pytest.mark.parametrize("text", [b'["dance"]', b"[]", b"7"])
def test_a_message_of_another_protocol_is_refused(text):
    with pytest.raises(WireError, match="the supervisor sent"):
        decode_to_control(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b'["hello"]',
        b'["hello", true]',
        b'["hello", "1"]',
        b'["hello", 1, 2]',
        b'["mark", false]',
        b'["mark", 1.5]',
        b'["trace", "feed"]',
        b'["trace", "feed", 1]',
        b'["trace", 1, true]',
        b'["listener"]',
        b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:28]),
)
def test_an_unknown_message_is_an_error_of_the_protocol(text):
    with pytest.raises(WireError):
        decode_to_supervisor(text)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_decoded_or_an_error_of_the_protocol(text):
    try:
        request = decode_to_supervisor(text)
    except WireError:
        return
    assert isinstance(request, Hello | Mark | TraceRule)
