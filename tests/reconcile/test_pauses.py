"""A rule that no worker forwards is paused, with a reason for each worker."""

import pytest

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import KERNEL
from mcrelay.reconcile.plan import Plan
from mcrelay.reconcile.reconciler import Reconciler
from tests.support.reconciler_harness import (
    CAMERA,
    FAR,
    SENSORS,
    TO_FAR,
    TO_NEAR,
    TWO_RULES,
    ReconcilerHarness,
    harness_with_broken,
    settle,
)
from tests.support.strategies import planned, with_kernel

TWO_WORKERS = planned({"camera": ([CAMERA], [TO_NEAR])}, count=2)


def camera(harness):
    status = harness.reconciler.statuses_now()["camera"]
    return status.state, status.reason


def test_without_a_plan_nothing_is_paused():
    assert Reconciler().statuses_now() == {}


def test_a_plan_without_workers_pauses_no_rule():
    reconciler = Reconciler()
    off = {"camera": RuleStatus(RuleState.DISABLED, "off")}
    reconciler.plan_changed(Plan(rules=off), 1)
    assert reconciler.statuses_now() == off


def test_at_the_start_a_rule_waits_for_its_worker_and_then_for_the_workers_answer():
    harness = ReconcilerHarness()
    harness.plan(TWO_RULES)
    assert camera(harness) == (RuleState.PAUSED, "worker 0 is starting")
    harness.hello(0)
    assert camera(harness) == (RuleState.PAUSED, "worker 0 is about to forward it")
    harness.answer(0)
    assert camera(harness) == (RuleState.ACTIVE, "")


def test_the_reason_says_how_a_worker_died_and_how_often():
    harness = settle(TWO_RULES)
    harness.exit(0)
    assert camera(harness) == (
        RuleState.PAUSED,
        "worker 0 died (killed by SIGKILL) and is waiting to restart",
    )
    harness.wait(0.1)
    assert camera(harness) == (RuleState.PAUSED, "worker 0 died (killed by SIGKILL) and is starting")
    harness.exit(0)
    assert camera(harness) == (
        RuleState.PAUSED,
        "worker 0 died 2 times (killed by SIGKILL) and is waiting to restart",
    )
    harness.converge()
    assert camera(harness) == (RuleState.ACTIVE, "")


def test_a_rule_waits_for_a_worker_that_ends_and_is_wanted_again():
    harness = settle(TWO_WORKERS)
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}))
    harness.plan(TWO_WORKERS)
    harness.exit(0)
    harness.exit(1)
    assert camera(harness) == (
        RuleState.PAUSED,
        "worker 0 died (killed by SIGKILL) and is waiting to restart; worker 1 is starting",
    )


def test_a_rule_that_another_worker_forwards_is_active_and_says_what_is_missing():
    harness = settle(TWO_WORKERS)
    harness.exit(1)
    assert camera(harness) == (
        RuleState.ACTIVE,
        "1 of 2 workers do not forward it: worker 1 died (killed by SIGKILL) and is waiting to restart",
    )


def test_only_a_new_rule_is_paused_until_its_worker_confirms_it():
    harness = settle(planned({"camera": ([CAMERA], [TO_NEAR])}))
    harness.plan(TWO_RULES)
    states = {name: status.state for name, status in harness.reconciler.statuses_now().items()}
    assert states == {"camera": RuleState.ACTIVE, "sensors": RuleState.PAUSED}


@pytest.mark.parametrize("is_away", [False, True])
def test_a_rule_that_failed_is_failed_whether_its_worker_lives_or_not(is_away):
    harness = harness_with_broken(TWO_RULES, FAR)
    if is_away:
        harness.exit(0)
    assert harness.reconciler.statuses_now()["sensors"].state is RuleState.FAILED


def test_what_is_missing_of_a_rule_stays_part_of_the_reason():
    both = planned({"camera": ([CAMERA], [TO_NEAR, TO_FAR]), "sensors": ([SENSORS], [TO_NEAR])})
    harness = harness_with_broken(both, FAR)
    partly = harness.reconciler.statuses()["camera"]
    assert partly.state is RuleState.ACTIVE
    harness.exit(0)
    assert camera(harness) == (
        RuleState.PAUSED,
        f"{partly.reason}; worker 0 died (killed by SIGKILL) and is waiting to restart",
    )


IN_KERNEL = Plan(with_kernel(TWO_RULES.state, {"camera"}), TWO_RULES.rules)


def test_a_rule_in_the_kernel_waits_for_the_kernel_and_not_for_a_worker():
    harness = ReconcilerHarness()
    harness.plan(IN_KERNEL)
    assert camera(harness) == (RuleState.PAUSED, "the kernel data plane is starting")
    harness.hello(KERNEL)
    assert camera(harness) == (RuleState.PAUSED, "the kernel data plane is about to forward it")
    harness.answer(KERNEL)
    assert camera(harness) == (RuleState.ACTIVE, "")


def test_a_rule_that_moves_is_not_paused():
    harness = settle(TWO_RULES)
    harness.plan(IN_KERNEL)
    assert camera(harness) == (RuleState.ACTIVE, "")
    harness.converge()
    harness.plan(TWO_RULES)
    assert camera(harness) == (RuleState.ACTIVE, "")
    harness.converge()
    assert camera(harness) == (RuleState.ACTIVE, "")
