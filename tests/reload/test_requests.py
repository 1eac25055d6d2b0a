"""A request is read as it was written, and any other text is an error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.reload.requests import Confirm, RequestError, Try, format_request, parse_request
from mcrelay.reload.trial import MAX_TRIAL_S

requests = st.builds(Try, st.floats(0.001, MAX_TRIAL_S) | st.integers(1, 86_400)) | st.builds(
    Confirm, st.integers(0, 10**9)
)


@given(requests)
def test_a_request_is_read_as_it_was_written(request):
    assert parse_request(format_request(request).encode()) == request


@given(st.binary(max_size=200))
def test_any_text_is_a_request_or_an_error(text):
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
def test_an_unknown_request_is_an_error(fields):
    with pytest.raises(RequestError, match="not a `try` or `confirm` request"):
        parse_request(json.dumps(fields).encode())


@pytest.mark.parametrize("seconds", ["0", "-1", "86400.1", "1e999", "-Infinity", "NaN", "1" * 400])
def test_a_trial_of_more_than_a_day_is_an_error(seconds):
    with pytest.raises(RequestError, match="at most 86400 seconds"):
        parse_request(b'{"verb": "try", "timeout": %s}' % seconds.encode())


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"verb": "try", "timeout": ' + b"1" * 5000]
)
def test_a_text_that_is_not_json_is_an_error(text):
    with pytest.raises(RequestError, match="not JSON"):
        parse_request(text)
