"""Whoever asked for a reload gets the verdict on it, also when the next one overtook it."""

import pytest

from mcrelay.config.changes import Changes
from mcrelay.config.problems import Problem, SourceLocation
from mcrelay.reload.results import MAX_EARLIER_RESULTS, MAX_PROBLEMS, Cause, Outcome, Reloads


def reloads(*outcomes):
    """Return reloads that all stand, one second apart."""
    result = Reloads()
    for at, outcome in enumerate(outcomes):
        result.begin(Cause.HANGUP)
        result.decided(outcome, generation=at + 1)
        result.publish(float(at))
    return result


def test_a_verdict_on_what_was_accepted_waits_until_it_runs():
    found = Reloads()
    found.begin(Cause.HANGUP)
    assert found.as_json() == {"begun": 1, "finished": 0, "earlier": []}
    found.decided(Outcome.STARTED, 1, Changes(added=("a",)))
    assert found.has_unpublished_results
    assert found.waits_for_workers
    assert found.as_json()["finished"] == 0
    [verdict] = found.publish(1000.5)
    assert (verdict.number, verdict.outcome) == (1, Outcome.STARTED)
    assert not found.has_unpublished_results
    told = found.as_json()
    assert (told["begun"], told["finished"], told["at"], told["generation"]) == (1, 1, 1000.5, 1)
    assert told["changes"]["added"] == ["a"]
    assert found.publish(1001.0) == []
    assert found.as_json() == told


def test_what_comes_back_waits_until_it_runs():
    found = reloads(Outcome.STARTED)
    found.begin(Cause.DEADLINE)
    found.decided(Outcome.ROLLED_BACK, 3)
    assert found.waits_for_workers


@pytest.mark.parametrize("outcome", [Outcome.UNCHANGED, Outcome.REJECTED, Outcome.CONFIRMED, Outcome.REFUSED])
def test_a_verdict_that_changes_nothing_waits_for_nothing(outcome):
    found = reloads(Outcome.STARTED)
    found.begin(Cause.HANGUP)
    found.decided(outcome, 1)
    assert not found.waits_for_workers


def test_a_reload_that_is_overtaken_has_a_verdict_of_its_own_and_the_next_one_stands_behind_it():
    found = reloads(Outcome.STARTED)
    found.begin(Cause.HANGUP)
    found.decided(Outcome.APPLIED, 2)
    found.begin(Cause.HANGUP)
    found.decided(Outcome.UNCHANGED, 2)
    assert found.waits_for_workers
    assert found.as_json()["begun"] == 3
    assert found.as_json()["finished"] == 1
    assert [verdict.number for verdict in found.publish(5.0)] == [2, 3]
    told = found.as_json()
    assert (told["finished"], told["cause"], told["outcome"]) == (3, "hangup", "unchanged")
    assert [(one["finished"], one["outcome"]) for one in told["earlier"]] == [(2, "applied"), (1, "started")]


def test_only_the_last_verdicts_are_remembered():
    told = reloads(*[Outcome.UNCHANGED] * 30).as_json()
    assert [one["finished"] for one in told["earlier"]] == list(range(29, 29 - MAX_EARLIER_RESULTS, -1))


def test_a_rejected_file_is_told_with_every_place_and_its_lines():
    found = reloads(Outcome.STARTED)
    found.begin(Cause.HANGUP)
    bad = Problem(SourceLocation("mcrelay.yaml", 3, 5), "rules.feed", "what is this", "a: bcd")
    found.decided(Outcome.REJECTED, 1, problems=[bad])
    found.publish(2.0)
    told = found.as_json()
    assert told["problems"] == [
        {
            "file": "mcrelay.yaml",
            "line": 3,
            "column": 5,
            "path": "rules.feed",
            "message": "what is this",
        }
    ]
    assert told["lines"] == ["mcrelay.yaml:3:5: rules.feed: what is this", "a: bcd", "    ^"]
    assert told["problem_count"] == 1


def test_of_very_many_problems_the_first_are_told_and_their_number():
    found = Reloads()
    found.begin(Cause.HANGUP)
    many = [
        Problem(SourceLocation("mcrelay.yaml", line), "", "no") for line in range(1, 2 * MAX_PROBLEMS + 1)
    ]
    found.decided(Outcome.REJECTED, 1, problems=many)
    found.publish(2.0)
    told = found.as_json()
    assert len(told["problems"]) == MAX_PROBLEMS
    assert told["problem_count"] == 2 * MAX_PROBLEMS
