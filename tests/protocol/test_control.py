"""What is told is what is heard; and whatever the control process asks for, the supervisor lives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.protocol.control import (
    Counters,
    Mark,
    MarkAnswer,
    SetListener,
    SnapshotChanged,
    TraceRule,
    TraceState,
    decode_to_control,
    decoded_request,
    encoded_news,
    encoded_request,
)
from mcrelay.protocol.worker import Hello, WireError

numbers = st.integers(0, 2**63)
texts = st.text(max_size=20)
news = (
    st.just(SetListener())
    | st.builds(Counters, numbers)
    | st.builds(SnapshotChanged, st.dictionaries(texts, texts | numbers, max_size=3))
    | st.builds(MarkAnswer, numbers, numbers)
    | st.builds(TraceState, texts, numbers, st.lists(numbers, max_size=3).map(tuple), texts)
)
requests = st.builds(Hello, numbers) | st.builds(Mark, numbers) | st.builds(TraceRule, texts, st.booleans())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(news)
def test_the_control_process_hears_what_was_told(told):
    assert decode_to_control(encoded_news(told)) == told


def test_what_is_drawn_only_when_it_is_told_comes_as_it_was_drawn():
    told = SnapshotChanged(
        {"verdicts": {"set": {"feed": RuleStatus(RuleState.ACTIVE, "device eth0 is down")}}}
    )
    sections = {"verdicts": {"set": {"feed": ["active", "device eth0 is down"]}}}
    assert decode_to_control(encoded_news(told)) == SnapshotChanged(sections)


@given(requests)
def test_the_supervisor_hears_what_was_asked(request):
    assert decoded_request(encoded_request(request)) == request


@pytest.mark.parametrize("text", [b'["dance"]', b"[]", b"7"])
def test_news_of_another_protocol_are_refused(text):
    with pytest.raises(WireError, match="supervisor said"):
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
        b'["listen"]',
        b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:28]),
)
def test_what_is_no_request_is_an_error_of_the_protocol(text):
    with pytest.raises(WireError):
        decoded_request(text)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_a_request_or_an_error_of_the_protocol_and_nothing_else(text):
    try:
        request = decoded_request(text)
    except WireError:
        return
    assert isinstance(request, Hello | Mark | TraceRule)
