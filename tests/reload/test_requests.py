"""A wish is read as it was written, and nothing else is a wish."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.reload.requests import Confirm, RequestError, Try, format_request, parse_request
from mcrelay.reload.trial import MAX_TRIAL_S

wishes = st.builds(Try, st.floats(0.001, MAX_TRIAL_S) | st.integers(1, 86_400)) | st.builds(
    Confirm, st.integers(0, 10**9)
)


@given(wishes)
def test_a_wish_is_read_as_it_was_written(wish):
    assert parse_request(format_request(wish).encode()) == wish


@given(st.binary(max_size=200))
def test_no_text_breaks_the_reader(text):
    try:
        assert format_request(parse_request(text))
    except RequestError:
        pass


@pytest.mark.parametrize(
    "fields",
    [
        None, [], 7, {}, {"verb": "try"}, {"verb": "reload", "timeout": 5}, {"verb": "try", "timeout": "5"},
        {"verb": "try", "timeout": True}, {"verb": "confirm", "generation": True}, {"verb": "confirm"},
        {"verb": "confirm", "generation": 1.0}, {"verb": "try", "timeout": 5, "file": "/etc/passwd"},
        {"verb": "confirm", "generation": 1, "and": "more"}, {"verb": ["try"], "timeout": 5},
    ],
)  # fmt: skip
def test_what_asks_for_nothing_that_there_is_is_no_wish(fields):
    with pytest.raises(RequestError, match="neither `try` nor `confirm`"):
        parse_request(json.dumps(fields).encode())


@pytest.mark.parametrize("seconds", ["0", "-1", "86400.1", "1e999", "-Infinity", "NaN", "1" * 400])
def test_a_trial_has_an_end_within_a_day(seconds):
    with pytest.raises(RequestError, match="at most 86400 seconds"):
        parse_request(b'{"verb": "try", "timeout": %s}' % seconds.encode())


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"verb": "try", "timeout": ' + b"1" * 5000]
)
def test_what_is_no_json_is_no_wish(text):
    with pytest.raises(RequestError, match="not JSON"):
        parse_request(text)
