"""Which rules the verdict of a reload names, and in which words."""

import pytest

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.reload.degraded import DegradedRule, describe_degraded, find_degraded

ABSENT = RuleStatus(RuleState.UNRESOLVED, "device nope0 is absent")


def lines(statuses, **options):
    return list(describe_degraded(find_degraded(statuses), **options))


def test_a_rule_that_runs_or_is_disabled_is_not_degraded():
    statuses = {"a": RuleStatus(RuleState.ACTIVE), "b": RuleStatus(RuleState.DISABLED, "`enabled: false`")}
    assert find_degraded(statuses) == ()
    assert lines(statuses) == []


def test_a_rule_that_does_not_run_is_named_with_its_reason():
    assert lines({"camera": ABSENT}) == ["1 rule does not run: camera: device nope0 is absent"]
    assert find_degraded({"camera": ABSENT})[0].as_json() == {
        "name": "camera", "state": "unresolved", "reason": "device nope0 is absent",
    }  # fmt: skip


@pytest.mark.parametrize("state", [RuleState.PAUSED, RuleState.UNRESOLVED, RuleState.FAILED])
def test_every_state_except_active_and_disabled_is_degraded(state):
    assert lines({"camera": RuleStatus(state)}) == [f"1 rule does not run: camera: {state}"]


def test_rules_that_do_not_run_come_before_rules_that_run_in_part():
    statuses = {"part": RuleStatus(RuleState.ACTIVE, "output x: no route"), "camera": ABSENT}
    assert [rule.name for rule in find_degraded(statuses)] == ["camera", "part"]
    assert lines(statuses) == [
        "1 rule does not run: camera: device nope0 is absent",
        "1 rule runs in part: part: output x: no route",
    ]
    assert lines(statuses, is_planned=True) == [
        "1 rule would not run: camera: device nope0 is absent",
        "1 rule would run in part: part: output x: no route",
    ]


def test_rules_with_one_cause_are_told_once():
    statuses = {f"rule{number}": ABSENT for number in range(60)} | {
        "mic": RuleStatus(RuleState.FAILED, "port 5001 is in use")
    }
    assert lines(statuses) == [
        "61 rules do not run: rule0, rule1, rule2, rule3 and 56 more: device nope0 is absent;"
        " mic: port 5001 is in use"
    ]
    assert lines(statuses, is_planned=True)[0].startswith("61 rules would not run: rule0,")


def test_more_causes_than_fit_are_counted():
    statuses = {f"rule{number}": RuleStatus(RuleState.FAILED, f"reason {number}") for number in range(6)}
    assert lines(statuses) == [
        "6 rules do not run: rule0: reason 0; rule1: reason 1; rule2: reason 2;"
        " and 3 more; see `mcrelay status`"
    ]


def test_rules_that_run_in_part_are_active():
    assert DegradedRule("a", "active", "one worker").runs_in_part
    assert not DegradedRule("a", "failed", "").runs_in_part
