"""Durations are numbers with a unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.config.durations import format_duration, parse_duration, reason_out_of_range, suggest_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("50ms", 50_000_000), ("1s", 10**9), ("0.5s", 5 * 10**8), ("2min", 120 * 10**9), ("1h", 3600 * 10**9)],
)
def test_a_duration_is_a_number_of_nanoseconds(text, nanoseconds):
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["50ms", "1s", "1500ms", "90s", "2min", "1h", "10.25ms"])
def test_a_duration_is_written_in_the_largest_unit_that_it_is_whole_in(text):
    assert format_duration(parse_duration(text)) == text


@given(st.integers(10**7, 3600 * 10**9))
def test_a_written_duration_is_read_as_it_was(nanoseconds):
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9.9ms", "expected 10ms to 1h, not 9.9ms"),
        ("10ms", ""),
        ("60min", ""),
        ("61min", "expected 10ms to 1h, not 61min"),
    ],
)
def test_a_duration_out_of_its_range_is_named(text, reason):
    assert reason_out_of_range(text, "10ms", "1h") == reason


def test_a_suggestion_is_made_only_where_the_meaning_is_clear():
    assert suggest_duration("10 Seconds") == "; did you mean `10s`?"
    assert suggest_duration("1.5 hrs") == "; did you mean `1.5h`?"
    assert suggest_duration(3) == "; add a unit: `3s` or `3ms`"
    assert [suggest_duration(value) for value in ("soon", "5", "5 x", True, None, [])] == [""] * 6
