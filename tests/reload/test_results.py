"""Every reload has a result, which is published when the accepted config runs."""

import pytest

from mcrelay.config.changes import Changes
from mcrelay.config.problems import Problem, SourceLocation
from mcrelay.reload.results import MAX_EARLIER_RESULTS, MAX_PROBLEMS, Cause, Outcome, Reloads


def reloads(*outcomes):
    """Return reloads with these outcomes, published one second apart."""
    result = Reloads()
    for at, outcome in enumerate(outcomes):
        result.begin(Cause.HANGUP)
        result.record_outcome(outcome, generation=at + 1)
        result.publish(float(at), {})
    return result


def test_the_result_of_an_accepted_config_waits_until_it_runs():
    found = Reloads()
    found.begin(Cause.HANGUP)
    assert found.as_json() == {"begun": 1, "finished": 0, "earlier": []}
    found.record_outcome(Outcome.STARTED, 1, Changes(added=("a",)))
    assert found.has_unpublished_results
    assert found.waits_for_workers
    assert found.as_json()["finished"] == 0
    [result] = found.publish(1000.5, {})
    assert (result.number, result.outcome) == (1, Outcome.STARTED)
    assert not found.has_unpublished_results
    document = found.as_json()
    assert (document["begun"], document["finished"], document["at"], document["generation"]) == (
        1,
        1,
        1000.5,
        1,
    )
    assert document["changes"]["added"] == ["a"]
    assert found.publish(1001.0, {}) == []
    assert found.as_json() == document


def test_the_result_of_a_rollback_waits_until_the_config_runs():
    found = reloads(Outcome.STARTED)
    found.begin(Cause.DEADLINE)
    found.record_outcome(Outcome.ROLLED_BACK, 3)
    assert found.waits_for_workers


@pytest.mark.parametrize("outcome", [Outcome.UNCHANGED, Outcome.REJECTED, Outcome.CONFIRMED, Outcome.REFUSED])
def test_a_result_without_a_new_config_does_not_wait_for_workers(outcome):
    found = reloads(Outcome.STARTED)
    found.begin(Cause.HANGUP)
    found.record_outcome(outcome, 1)
    assert not found.waits_for_workers


def test_a_reload_that_the_next_one_overtakes_has_its_own_result():
    found = reloads(Outcome.STARTED)
    found.begin(Cause.HANGUP)
    found.record_outcome(Outcome.APPLIED, 2)
    found.begin(Cause.HANGUP)
    found.record_outcome(Outcome.UNCHANGED, 2)
    assert found.waits_for_workers
    assert found.as_json()["begun"] == 3
    assert found.as_json()["finished"] == 1
    assert [result.number for result in found.publish(5.0, {})] == [2, 3]
    document = found.as_json()
    assert (document["finished"], document["cause"], document["outcome"]) == (3, "hangup", "unchanged")
    assert [(one["finished"], one["outcome"]) for one in document["earlier"]] == [
        (2, "applied"),
        (1, "started"),
    ]


def test_only_the_last_results_are_kept():
    document = reloads(*[Outcome.UNCHANGED] * 30).as_json()
    assert [one["finished"] for one in document["earlier"]] == list(range(29, 29 - MAX_EARLIER_RESULTS, -1))


def test_the_result_of_a_rejected_file_has_every_problem_with_its_lines():
    found = reloads(Outcome.STARTED)
    found.begin(Cause.HANGUP)
    bad = Problem(SourceLocation("mcrelay.yaml", 3, 5), "rules.feed", "what is this", "a: bcd")
    found.record_outcome(Outcome.REJECTED, 1, problems=[bad])
    found.publish(2.0, {})
    document = found.as_json()
    assert document["problems"] == [
        {
            "file": "mcrelay.yaml",
            "line": 3,
            "column": 5,
            "path": "rules.feed",
            "message": "what is this",
        }
    ]
    assert document["lines"] == ["mcrelay.yaml:3:5: rules.feed: what is this", "a: bcd", "    ^"]
    assert document["problem_count"] == 1


def test_a_result_has_the_first_of_very_many_problems_and_their_number():
    found = Reloads()
    found.begin(Cause.HANGUP)
    many = [
        Problem(SourceLocation("mcrelay.yaml", line), "", "no") for line in range(1, 2 * MAX_PROBLEMS + 1)
    ]
    found.record_outcome(Outcome.REJECTED, 1, problems=many)
    found.publish(2.0, {})
    document = found.as_json()
    assert len(document["problems"]) == MAX_PROBLEMS
    assert document["problem_count"] == 2 * MAX_PROBLEMS
