"""A copy of the picture that takes every change is the picture, however it changed."""

import json
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from mcrelay.protocol.snapshot import MAPS, changes, merged, parts

values = st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=2)
maps = st.dictionaries(st.sampled_from("abcdef"), values, max_size=6)
pictures = st.fixed_dictionaries(
    {"daemon": values, "generation": values, "reload": st.none() | values, **dict.fromkeys(MAPS, maps)}
)


def orders(picture):
    return {name: list(picture[name]) for name in MAPS}


@given(pictures, pictures)
def test_the_changes_turn_one_picture_into_the_other_in_its_order(before, after):
    assert merged(before, changes(before, after)) == after
    assert orders(merged(before, changes(before, after))) == orders(after)


@given(pictures)
def test_a_picture_begins_as_nothing(picture):
    assert merged({}, changes({}, picture)) == {name: value for name, value in picture.items() if value != {}}


@given(st.lists(pictures, max_size=6))
def test_a_copy_follows_any_history_through_messages(history):
    picture, copy = {}, {}
    for after in history:
        copy = merged(copy, json.loads(json.dumps(changes(picture, after))))
        picture = after
    assert {name: value for name, value in picture.items() if value != {}} == {
        name: value for name, value in copy.items() if value != {}
    }


@given(pictures)
def test_what_is_the_same_is_not_said(picture):
    assert changes(picture, picture) == {}


def test_only_the_one_rule_that_changed_is_said():
    before = {"rules": {str(number): {"line": number} for number in range(1000)}}
    after = {"rules": {**before["rules"], "7": {"line": 8}}}
    assert changes(before, after) == {"rules": {"set": {"7": {"line": 8}}}}


def test_a_rule_that_moves_to_the_front_of_the_file_does_so_in_the_copy():
    before = {"verdicts": {"a": 1, "b": 2}}
    after = {"verdicts": {"c": 3, "a": 1}}
    message = changes(before, after)
    assert message == {"verdicts": {"set": {"c": 3}, "gone": ["b"], "order": ["c", "a"]}}
    assert list(merged(before, message)["verdicts"]) == ["c", "a"]


@given(pictures, pictures)
def test_a_change_told_in_parts_is_the_same_change(before, after):
    whole = changes(before, after)
    copy = reduce(merged, parts(whole, most=2), before)
    assert copy == after
    assert orders(copy) == orders(after)


def test_no_part_sets_more_than_it_may_and_the_verdict_comes_last():
    message = {"rules": {"set": dict.fromkeys("abcde", 1), "gone": ["f"]}, "reload": {"finished": 2}}
    told = list(parts(message, most=2))
    assert [part["rules"] for part in told] == [
        {"set": {"a": 1, "b": 1}},
        {"set": {"c": 1, "d": 1}},
        {"set": {"e": 1}, "gone": ["f"]},
    ]
    assert ["reload" in part for part in told] == [False, False, True]
