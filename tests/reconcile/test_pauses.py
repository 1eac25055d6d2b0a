"""A rule that no worker forwards is paused, and says of each worker why."""

import pytest

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.reconcile.plan import Plan
from mcrelay.reconcile.reconciler import Reconciler
from tests.support.reconciler_harness import (
    CAMERA,
    FAR,
    SENSORS,
    TO_FAR,
    TO_NEAR,
    TWO_RULES,
    World,
    failing,
    settled,
)
from tests.support.strategies import planned

TWO_WORKERS = planned({"camera": ([CAMERA], [TO_NEAR])}, count=2)


def camera(world):
    verdict = world.reconciler.statuses_now()["camera"]
    return verdict.state, verdict.reason


def test_without_a_plan_nothing_is_paused():
    assert Reconciler().statuses_now() == {}


def test_a_plan_without_workers_leaves_its_verdicts_alone():
    reconciler = Reconciler()
    off = {"camera": RuleStatus(RuleState.DISABLED, "off")}
    reconciler.plan_changed(Plan(rules=off), 1)
    assert reconciler.statuses_now() == off


def test_at_the_start_a_rule_waits_for_its_worker_and_then_for_the_workers_answer():
    world = World()
    world.plan(TWO_RULES)
    assert camera(world) == (RuleState.PAUSED, "worker 0 is starting")
    world.hello(0)
    assert camera(world) == (RuleState.PAUSED, "worker 0 is about to forward it")
    world.answer(0)
    assert camera(world) == (RuleState.ACTIVE, "")


def test_a_dead_worker_is_the_reason_with_how_it_died_and_how_often():
    world = settled(TWO_RULES)
    world.exit(0)
    assert camera(world) == (RuleState.PAUSED, "worker 0 died (killed by SIGKILL) and is pausing")
    world.wait(0.1)
    assert camera(world) == (RuleState.PAUSED, "worker 0 died (killed by SIGKILL) and is starting")
    world.exit(0)
    assert camera(world) == (RuleState.PAUSED, "worker 0 died 2 times (killed by SIGKILL) and is pausing")
    world.converge()
    assert camera(world) == (RuleState.ACTIVE, "")


def test_a_worker_that_is_told_to_end_and_wanted_again_is_waited_for():
    world = settled(TWO_WORKERS)
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}))
    world.plan(TWO_WORKERS)
    world.exit(0)
    world.exit(1)
    assert camera(world) == (
        RuleState.PAUSED,
        "worker 0 died (killed by SIGKILL) and is pausing; worker 1 is starting",
    )


def test_a_rule_that_another_worker_forwards_is_active_and_says_what_is_missing():
    world = settled(TWO_WORKERS)
    world.exit(1)
    assert camera(world) == (
        RuleState.ACTIVE,
        "1 of 2 workers do not forward it: worker 1 died (killed by SIGKILL) and is pausing",
    )


def test_a_new_rule_is_paused_alone_until_its_worker_confirms_it():
    world = settled(planned({"camera": ([CAMERA], [TO_NEAR])}))
    world.plan(TWO_RULES)
    states = {name: verdict.state for name, verdict in world.reconciler.statuses_now().items()}
    assert states == {"camera": RuleState.ACTIVE, "sensors": RuleState.PAUSED}


@pytest.mark.parametrize("is_away", [False, True])
def test_a_rule_that_failed_is_failed_whether_its_worker_lives_or_not(is_away):
    world = failing(TWO_RULES, FAR)
    if is_away:
        world.exit(0)
    assert world.reconciler.statuses_now()["sensors"].state is RuleState.FAILED


def test_what_is_missing_of_a_rule_stays_part_of_the_reason():
    both = planned({"camera": ([CAMERA], [TO_NEAR, TO_FAR]), "sensors": ([SENSORS], [TO_NEAR])})
    world = failing(both, FAR)
    partly = world.reconciler.statuses()["camera"]
    assert partly.state is RuleState.ACTIVE
    world.exit(0)
    assert camera(world) == (
        RuleState.PAUSED,
        f"{partly.reason}; worker 0 died (killed by SIGKILL) and is pausing",
    )
