"""A failed action is attempted again, affects no other action, and is shown in the status of its rules."""

import pytest

from mcrelay.model.actions import Acquire, Close, DeleteFlow
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import Ingress, Membership, PortReservation
from mcrelay.reconcile.commands import Perform, Start
from mcrelay.reconcile.plan import Plan, supervisor_resource
from tests.support.reconciler_harness import (
    CAMERA,
    FAR,
    LINE_A,
    LINE_B,
    NEAR,
    ONE_RULE,
    SENSORS,
    TO_FAR,
    TO_NEAR,
    TUNNEL,
    TWO_RULES,
    ReconcilerHarness,
    harness_with_broken,
    settle,
    subject_of,
)
from tests.support.strategies import planned, running_as


def test_everything_except_what_was_refused_is_done():
    harness = harness_with_broken(TWO_RULES, FAR)
    assert harness.workers[0].has.flows.keys() == {CAMERA}
    assert harness.has.memberships == TWO_RULES.state.memberships
    assert harness.reconciler.is_settled


def pauses_of_failure(harness, count):
    """Return the seconds between the attempts to do what fails."""
    pauses = []
    for _ in range(count):
        pauses.append(harness.reconciler.next_deadline() - harness.now)
        harness.wait(pauses[-1])
        while harness.workers[0].batch:
            harness.answer(0)
        if harness.performing:
            harness.perform()
    return pauses


@pytest.mark.parametrize("thing", [NEAR, CAMERA, Ingress(1, 2048), Membership(1, "239.1.1.1")])
def test_pauses_between_attempts_double_from_one_second_to_thirty(thing):
    harness = harness_with_broken(ONE_RULE, thing)
    assert pauses_of_failure(harness, 7) == [1, 2, 4, 8, 16, 30, 30]
    harness.broken.clear()
    harness.converge()
    assert harness.reconciler.running == running_as(ONE_RULE.state)
    assert harness.reconciler.failures.by_subject == {}


def test_after_a_new_plan_failed_actions_are_attempted_again_at_once():
    harness = harness_with_broken(ONE_RULE, Membership(1, "239.1.1.1"))
    harness.since()
    harness.plan(ONE_RULE)
    assert harness.since() == [Perform((Acquire(Membership(1, "239.1.1.1")),))]


def test_a_group_that_cannot_be_left_is_tried_again_after_a_pause_and_not_at_once():
    harness = settle(ONE_RULE)
    harness.broken.add(Membership(1, "239.1.1.1"))
    harness.plan(planned({"sensors": ([SENSORS], [TO_NEAR])}))
    harness.answer(0)
    harness.perform()
    assert not harness.performing
    assert pauses_of_failure(harness, 3) == [1, 2, 4]


def test_a_refusal_of_one_worker_is_not_forgotten_because_another_worker_succeeds():
    harness = ReconcilerHarness()
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    harness.hello(0)
    harness.hello(1)
    harness.refuse(1, 0)
    harness.answer(0)
    for _ in range(5):
        for worker in (0, 1):
            if harness.workers[worker].batch:
                harness.answer(worker)
    assert harness.reconciler.failures.by_subject.keys() == {Ingress(1, 2048)}
    assert harness.reconciler.next_deadline() == harness.now + 1
    harness.converge()
    assert harness.reconciler.failures.by_subject == {}


# The statuses.

MANY = planned(
    {
        "camera": ([CAMERA], [TO_NEAR, TO_FAR]),
        "sensors": ([SENSORS], [TO_FAR]),
        "feed": ([LINE_A, LINE_B], [TO_NEAR]),
        "tunnel": ([TUNNEL], [TO_NEAR]),
    }
)
WELL = RuleStatus(RuleState.ACTIVE)


def states(harness):
    return {
        name: str(status.state) for name, status in harness.reconciler.statuses().items() if status != WELL
    }


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ([], {}),
        ([FAR], {"camera": "active", "sensors": "failed"}),
        ([FAR, NEAR], {"camera": "failed", "sensors": "failed", "feed": "failed", "tunnel": "failed"}),
        ([Ingress(1, 2048)], {"camera": "failed", "sensors": "failed"}),
        ([Ingress(1, 2048), FAR], {"camera": "failed", "sensors": "failed"}),
        ([SENSORS], {"sensors": "failed"}),
        ([supervisor_resource(CAMERA)], {"camera": "failed"}),
        ([supervisor_resource(CAMERA), FAR], {"camera": "failed", "sensors": "failed"}),
        ([supervisor_resource(LINE_A)], {"feed": "active"}),
        ([supervisor_resource(LINE_A), supervisor_resource(LINE_B)], {"feed": "failed"}),
        ([PortReservation("10.0.0.9", 6001)], {"tunnel": "failed"}),
    ],
)
def test_a_rule_has_failed_where_no_packet_can_pass_and_is_active_with_a_reason_where_some_can(
    broken, expected
):
    assert states(harness_with_broken(MANY, *broken)) == expected


def test_a_status_gives_every_reason_once_after_the_reason_of_the_plan():
    plan = Plan(
        MANY.state, {**MANY.rules, "camera": RuleStatus(RuleState.ACTIVE, "1 of 3 outputs does not run")}
    )
    harness = ReconcilerHarness()
    harness.plan(plan)
    harness.hello(0)
    for thing, reason in ((NEAR, "in use"), (FAR, "no room")):
        at = [subject_of(action) for action in harness.workers[0].batch.actions].index(thing)
        number = harness.workers[0].batch.number
        harness.workers[0].batch = None
        harness.reconciler.batch_refused(0, number, {at: reason}, harness.now)
        harness.take_commands()
    statuses = harness.reconciler.statuses()
    assert statuses["camera"] == RuleStatus(RuleState.FAILED, "1 of 3 outputs does not run; in use; no room")
    assert statuses["feed"] == RuleStatus(RuleState.FAILED, "in use")


def test_a_refusal_of_an_earlier_plan_is_not_a_failure_of_the_new_plan():
    harness = ReconcilerHarness()
    harness.plan(ONE_RULE)
    harness.hello(0)
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, frame_size=4096))
    harness.refuse(0, 0)
    harness.converge()
    assert harness.reconciler.statuses() == ONE_RULE.rules


def test_a_ring_that_cannot_grow_is_closed_with_its_flows_until_it_can():
    harness = settle(ONE_RULE)
    harness.broken.add(Ingress(1, 4096))
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, frame_size=4096))
    harness.answer(0)
    (_, last) = harness.since()
    assert last.actions == (DeleteFlow(0, CAMERA), Close(0, Ingress(1, 2048)))


def test_a_worker_stays_while_all_that_it_needs_has_failed():
    harness = harness_with_broken(ONE_RULE, *ONE_RULE.state.forwarding.resources)
    assert harness.reconciler.is_settled
    assert harness.reconciler.running.workers.keys() == {0}


def test_a_worker_restarts_after_its_death_even_while_something_is_set_aside():
    harness = harness_with_broken(ONE_RULE, NEAR)
    harness.exit(0)
    harness.wait(0.1)
    assert harness.since()[-1] == Start(0)
