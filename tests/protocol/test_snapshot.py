"""A copy of a snapshot, to which every delta is applied, equals the snapshot."""

import json
from functools import reduce

from hypothesis import example, given
from hypothesis import strategies as st

from mcrelay.protocol.snapshot import MAPS, compute_delta, merge_delta, split_delta

values = st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=2)
maps = st.dictionaries(st.sampled_from("abcdef"), values, max_size=6)
snapshots = st.fixed_dictionaries(
    {"daemon": values, "generation": values, "reload": st.none() | values, **dict.fromkeys(MAPS, maps)}
)


def read_orders(snapshot):
    return {name: list(snapshot[name]) for name in MAPS}


EMPTY = {"daemon": 0, "generation": 0, "reload": None, **{name: {} for name in MAPS}}


@given(snapshots, snapshots)
@example({**EMPTY, "rules": {"a": 1, "b": 2}}, {**EMPTY, "rules": {"b": 2, "a": 1}})
def test_a_delta_turns_one_snapshot_into_the_other_in_its_order(before, after):
    assert merge_delta(before, compute_delta(before, after)) == after
    assert read_orders(merge_delta(before, compute_delta(before, after))) == read_orders(after)


@given(snapshots)
def test_the_first_delta_has_the_whole_snapshot(snapshot):
    assert merge_delta({}, compute_delta({}, snapshot)) == {
        name: value for name, value in snapshot.items() if value != {}
    }


@given(st.lists(snapshots, max_size=6))
def test_a_copy_follows_any_history_of_deltas(history):
    snapshot, copy = {}, {}
    for after in history:
        copy = merge_delta(copy, json.loads(json.dumps(compute_delta(snapshot, after))))
        snapshot = after
    assert {name: value for name, value in snapshot.items() if value != {}} == {
        name: value for name, value in copy.items() if value != {}
    }


@given(snapshots)
def test_the_delta_of_equal_snapshots_is_empty(snapshot):
    assert compute_delta(snapshot, snapshot) == {}


def test_a_delta_has_only_the_rule_that_changed():
    before = {"rules": {str(number): {"line": number} for number in range(1000)}}
    after = {"rules": {**before["rules"], "7": {"line": 8}}}
    assert compute_delta(before, after) == {"rules": {"set": {"7": {"line": 8}}}}


def test_a_rule_that_moves_to_the_front_of_the_file_moves_in_the_copy():
    before = {"statuses": {"a": 1, "b": 2}}
    after = {"statuses": {"c": 3, "a": 1}}
    message = compute_delta(before, after)
    assert message == {"statuses": {"set": {"c": 3}, "gone": ["b"], "order": ["c", "a"]}}
    assert list(merge_delta(before, message)["statuses"]) == ["c", "a"]


@given(snapshots, snapshots)
def test_the_parts_of_a_delta_have_the_effect_of_the_whole(before, after):
    whole = compute_delta(before, after)
    copy = reduce(merge_delta, split_delta(whole, limit=2), before)
    assert copy == after
    assert read_orders(copy) == read_orders(after)


def test_no_part_sets_more_than_the_limit_and_the_result_of_the_reload_comes_last():
    message = {"rules": {"set": dict.fromkeys("abcde", 1), "gone": ["f"]}, "reload": {"finished": 2}}
    parts = list(split_delta(message, limit=2))
    assert [part["rules"] for part in parts] == [
        {"set": {"a": 1, "b": 1}},
        {"set": {"c": 1, "d": 1}},
        {"set": {"e": 1}, "gone": ["f"]},
    ]
    assert ["reload" in part for part in parts] == [False, False, True]
