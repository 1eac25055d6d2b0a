"""A status collects the reasons for the state of a rule."""

from mcrelay.model.rule_status import RuleState, RuleStatus, join_reasons


def test_reasons_are_added_behind_those_that_a_status_has():
    status = RuleStatus(RuleState.ACTIVE, "device eth1 is down")
    assert status.with_reasons("in use", "", "no room").reason == "device eth1 is down; in use; no room"
    assert status.with_reasons().with_reasons("") == status


def test_a_first_reason_needs_no_separator():
    assert RuleStatus(RuleState.FAILED).with_reasons("in use") == RuleStatus(RuleState.FAILED, "in use")


def test_the_state_stays_whatever_the_reasons():
    assert RuleStatus(RuleState.FAILED, "in use").with_reasons("no room").state is RuleState.FAILED


def test_no_reason_is_an_empty_text():
    assert join_reasons() == join_reasons("", "") == ""
