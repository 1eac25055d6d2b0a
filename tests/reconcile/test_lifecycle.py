"""A worker that dies comes back, later each time; one that does not answer dies."""

import pytest

from mcrelay.model.actions import Release
from mcrelay.model.state import DesiredState, Membership
from mcrelay.reconcile.commands import Kill, Perform, Start, Stop
from mcrelay.reconcile.plan import Plan
from tests.support.reconciler_harness import CAMERA, ONE_RULE, TO_NEAR, World, settled
from tests.support.strategies import planned, reached


def pause_of_death(world):
    """Let worker 0 die, and return the seconds until it starts again."""
    died = world.now
    world.exit(0)
    world.wait(world.reconciler.next_deadline() - world.now)
    assert 0 in world.workers
    return round(world.now - died, 3)


def test_pauses_double_from_a_tenth_of_a_second_to_ten():
    world = settled(ONE_RULE)
    pauses = [pause_of_death(world) for _ in range(9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_after_a_second_of_life_a_death_counts_as_the_first():
    world = settled(ONE_RULE)
    assert [pause_of_death(world) for _ in range(3)] == [0.1, 0.2, 0.4]
    world.hello(0)
    world.converge()
    world.wait(0.9)
    assert pause_of_death(world) == 0.8
    world.hello(0)
    world.converge()
    world.wait(1)
    assert pause_of_death(world) == 0.1


def test_a_death_before_hello_does_not_share_in_the_long_life_before_it():
    world = settled(ONE_RULE)
    world.wait(1)
    assert [pause_of_death(world) for _ in range(3)] == [0.1, 0.2, 0.4]


def test_a_death_that_is_told_twice_counts_once():
    world = settled(ONE_RULE)
    world.exit(0)
    world.reconciler.worker_exited(0, world.now)
    assert world.reconciler.processes[0].restarts == 1
    assert world.reconciler.next_deadline() == world.now + 0.1


@pytest.mark.parametrize("when", ["it starts", "it has a batch", "it ends"])
def test_a_worker_that_does_not_answer_is_killed_and_killed_again(when):
    world = World()
    world.plan(ONE_RULE)
    if when != "it starts":
        world.hello(0)
    if when == "it ends":
        world.converge()
        world.plan(Plan())
        assert Stop(0) in world.since()
        world.perform()
    world.since()
    assert world.reconciler.next_deadline() == world.now + 10
    world.wait(9.9)
    assert world.since() == []
    world.wait(0.1)
    assert world.since() == [Kill(0)]
    world.wait(10)
    assert world.since() == [Kill(0)]


def test_a_hello_that_nobody_waits_for_says_nothing():
    world = settled(ONE_RULE)
    world.reconciler.worker_started(0, world.now)
    world.reconciler.worker_started(7, world.now)
    world.check()
    assert world.reconciler.running == reached(ONE_RULE.state)


def test_a_start_is_settled_once_every_worker_has_run_and_stays_so_when_one_dies():
    world = World()
    world.plan(Plan(DesiredState(worker_count=1)))
    world.exit(0)
    assert not world.reconciler.is_settled
    world.wait(0.1)
    assert not world.reconciler.is_settled
    world.hello(0)
    assert world.reconciler.is_settled
    world.exit(0)
    assert world.reconciler.is_settled


def test_a_start_is_not_settled_by_a_worker_that_dies_of_its_first_batch():
    world = World()
    world.plan(ONE_RULE)
    for _ in range(3):
        world.hello(0)
        assert not world.reconciler.is_settled
        world.exit(0)
        assert not world.reconciler.is_settled
        world.wait(world.reconciler.next_deadline() - world.now)


def test_a_worker_that_is_not_wanted_any_more_ends_and_stays_away():
    world = settled(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.plan(ONE_RULE)
    assert world.since() == [Stop(1)]
    assert world.reconciler.is_ending(1)
    assert not world.reconciler.is_ending(0)
    assert not world.reconciler.is_settled
    world.exit(1)
    assert world.reconciler.is_settled
    assert world.reconciler.next_deadline() is None
    assert [process.restarts for process in world.reconciler.processes.values()] == [0, 0]


def test_a_worker_that_is_wanted_again_while_it_ends_starts_again_at_once():
    world = settled(ONE_RULE)
    world.plan(Plan())
    world.plan(ONE_RULE)
    world.exit(0)
    assert world.since() == [Stop(0), Perform((Release(Membership(1, "239.1.1.1")),)), Start(0)]
