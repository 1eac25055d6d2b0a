"""No text from outside can move the cursor of a terminal or forge a line of a log."""

from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.printable import REPLACEMENT, make_printable


def test_each_unprintable_character_is_replaced_by_one():
    assert make_printable("straße 239.1.1.1") == "straße 239.1.1.1"
    assert make_printable("a\x1b[2J\nb\u2028c\u202ed\x00") == f"a{REPLACEMENT}[2J{REPLACEMENT}b" + (
        f"{REPLACEMENT}c{REPLACEMENT}d{REPLACEMENT}"
    )
    assert make_printable("two\tlines\n", "?") == "two?lines?"


def test_characters_to_keep_are_kept():
    assert make_printable("\ta\rb", "?", keep="\t") == "\ta?b"


@given(st.text())
def test_the_result_is_printable_and_of_the_same_length(text):
    assert make_printable(text).isprintable()
    assert len(make_printable(text)) == len(text)
