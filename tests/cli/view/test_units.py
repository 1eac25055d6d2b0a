"""Numbers, times and durations as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.cli.view.units import format_count, format_duration, format_number, format_quantity, format_time


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"), (0, "0"), (0.0, "0"), (0.4, "0.4"), (7, "7"), (12.6, "13"), (999.4, "999"),
        (999.6, "1.00k"), (1234, "1.23k"), (9995, "10.0k"), (20_000.0, "20.0k"), (99_960, "100k"),
        (999_499, "999k"), (999_501, "1.00M"), (224e6, "224M"), (3e9, "3.00G"), (5e12, "5.00T"),
    ],
)  # fmt: skip
def test_a_number_is_rounded_to_three_digits(number, text):
    assert format_number(number) == text


@given(st.floats(0, 2**64))
def test_no_count_takes_more_than_five_characters(number):
    assert len(format_number(number)) <= 5


@pytest.mark.parametrize(("number", "text"), [(812, "812 B"), (1_680_000_000, "1.68 GB"), (None, "- B")])
def test_a_unit_follows_its_prefix(number, text):
    assert format_quantity(number, "B") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0.04, "0.0 s"), (0.25, "0.2 s"), (9.96, "9 s"), (59.9, "59 s"), (60, "1 min"),
        (3599, "59 min"), (3600, "1 h"), (86_399, "23 h"), (86_400 * 12, "12 d"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_in_its_largest_unit(seconds, text):
    assert format_duration(seconds) == text


def test_one_is_singular_and_thousands_are_grouped():
    assert [format_count(number, "rule") for number in (0, 1, 10_000)] == [
        "0 rules",
        "1 rule",
        "10,000 rules",
    ]


def test_a_time_is_shown_as_local_date_and_time(monkeypatch):
    monkeypatch.setattr("time.localtime", __import__("time").gmtime)
    assert format_time(0) == "1970-01-01 00:00:00"
