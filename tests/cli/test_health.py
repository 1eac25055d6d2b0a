"""What makes `mcrelay status --exit-code` end with 5, and what does not."""

from mcrelay.cli.health import troubles
from tests.support.status_documents import REJECTED, RELOAD, TRIAL, document, idle, process, rule


def found(*rules, **fields):
    return list(troubles(document(*rules, **fields)))


def test_a_relay_that_is_well_has_no_troubles():
    assert found(rule(), idle("off", "disabled", "`enabled: false` in the file")) == []


def test_a_rule_that_does_not_run_or_not_whole_is_trouble():
    rules = (
        rule("well"),
        idle("late", "unresolved", "why"),
        rule("half", reason="1 of 2 outputs do not run"),
    )
    assert found(*rules) == ["2 rules not running, or not whole: late, half"]


def test_a_rejected_file_is_trouble():
    assert found(reload=REJECTED) == ["the file was rejected at the last reload"]


def test_a_file_that_was_rolled_back_is_trouble_and_one_on_trial_is_not():
    rolled_back = {**RELOAD, "outcome": "rolled_back"}
    assert found(reload=rolled_back) == ["the file was rolled back: what runs is what was confirmed before"]
    assert found(trial=TRIAL) == []


def test_a_process_that_died_is_trouble_until_it_is_back():
    dead = process("worker 0", "worker", state="pausing", pid=None)
    assert found(processes=[dead, process("control", "control")]) == ["died, and not back yet: worker 0"]
    assert found(processes=[process("worker 0", "worker", restarts=3, reason="killed by SIGKILL")]) == []
