"""The types of numeric arguments."""

import argparse

import pytest

from mcrelay.cli.argument_types import positive_number, whole_number


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "many", ""])
def test_a_rate_or_a_time_is_above_zero(text):
    with pytest.raises(argparse.ArgumentTypeError):
        positive_number(text)
    assert positive_number("0.5") == 0.5


@pytest.mark.parametrize("text", ["0", "256", "-1", "1.5", "²", ""])
def test_a_ttl_is_a_whole_number_in_its_range(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 1 to 255"):
        whole_number(1, 255)(text)
    assert whole_number(1, 255)("255") == 255
