"""A worker that dies is restarted after increasing delays; a worker that does not answer is killed."""

import pytest

from mcrelay.model.actions import Release
from mcrelay.model.state import Membership
from mcrelay.reconcile.commands import Kill, Perform, Start, Stop
from mcrelay.reconcile.lifecycle import Phase
from mcrelay.reconcile.plan import Plan
from tests.support.reconciler_harness import CAMERA, ONE_RULE, TO_NEAR, ReconcilerHarness, settle
from tests.support.strategies import planned, running_as


def pause_of_death(harness):
    """Let worker 0 die, and return the seconds until it starts again."""
    died = harness.now
    harness.exit(0)
    harness.wait(harness.reconciler.next_deadline() - harness.now)
    assert 0 in harness.workers
    return round(harness.now - died, 3)


def test_pauses_double_from_a_tenth_of_a_second_to_ten():
    harness = settle(ONE_RULE)
    pauses = [pause_of_death(harness) for _ in range(9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_after_a_second_of_life_a_death_counts_as_the_first():
    harness = settle(ONE_RULE)
    assert [pause_of_death(harness) for _ in range(3)] == [0.1, 0.2, 0.4]
    harness.hello(0)
    harness.converge()
    harness.wait(0.9)
    assert pause_of_death(harness) == 0.8
    harness.hello(0)
    harness.converge()
    harness.wait(1)
    assert pause_of_death(harness) == 0.1


def test_a_death_before_hello_does_not_count_as_the_end_of_a_long_life():
    harness = settle(ONE_RULE)
    harness.wait(1)
    assert [pause_of_death(harness) for _ in range(3)] == [0.1, 0.2, 0.4]


def test_a_death_that_is_reported_twice_counts_once():
    harness = settle(ONE_RULE)
    harness.exit(0)
    harness.reconciler.worker_exited(0, harness.now)
    assert harness.reconciler.processes[0].restarts == 1
    assert harness.reconciler.next_deadline() == harness.now + 0.1


@pytest.mark.parametrize("when", ["it starts", "it has a batch", "it ends"])
def test_a_worker_that_does_not_answer_is_killed_and_killed_again(when):
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    if when != "it starts":
        harness.hello(0)
    if when == "it ends":
        harness.converge()
        harness.plan(Plan())
        assert Stop(0) in harness.since()
        harness.perform()
    harness.since()
    assert harness.reconciler.next_deadline() == harness.now + 10
    harness.wait(9.9)
    assert harness.since() == []
    harness.wait(0.1)
    assert harness.since() == [Kill(0)]
    harness.wait(10)
    assert harness.since() == [Kill(0)]


def test_an_unexpected_hello_is_ignored():
    harness = settle(ONE_RULE)
    harness.reconciler.worker_started(0, harness.now)
    harness.reconciler.worker_started(7, harness.now)
    harness.check()
    assert harness.reconciler.running == running_as(ONE_RULE.state)


def test_a_start_is_settled_once_every_worker_has_run_and_stays_so_when_one_dies():
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    harness.exit(0)
    assert not harness.reconciler.is_settled
    harness.wait(0.1)
    assert not harness.reconciler.is_settled
    harness.hello(0)
    harness.answer(0)
    harness.perform()
    assert harness.reconciler.is_settled
    harness.exit(0)
    assert harness.reconciler.is_settled


def test_a_start_is_not_settled_by_a_worker_that_dies_of_its_first_batch():
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    for _ in range(3):
        harness.hello(0)
        assert not harness.reconciler.is_settled
        harness.exit(0)
        assert not harness.reconciler.is_settled
        harness.wait(harness.reconciler.next_deadline() - harness.now)


def test_a_worker_that_is_no_longer_wanted_ends_and_is_not_restarted():
    harness = settle(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    harness.plan(ONE_RULE)
    assert harness.since() == [Stop(1)]
    assert harness.reconciler.processes[1].phase is Phase.ENDING
    assert harness.reconciler.processes[0].phase is Phase.IDLE
    assert not harness.reconciler.is_settled
    harness.exit(1)
    assert harness.reconciler.is_settled
    assert harness.reconciler.next_deadline() is None
    assert [process.restarts for process in harness.reconciler.processes.values()] == [0, 0]


def test_a_worker_that_is_wanted_again_while_it_ends_starts_again_at_once():
    harness = settle(ONE_RULE)
    harness.plan(Plan())
    harness.plan(ONE_RULE)
    harness.exit(0)
    assert harness.since() == [Stop(0), Perform((Release(Membership(1, "239.1.1.1")),)), Start(0)]
