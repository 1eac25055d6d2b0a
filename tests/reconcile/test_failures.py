"""What fails is tried again and again, harms nothing else, and is told in the verdicts."""

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
    World,
    failing,
    settled,
    subject,
)
from tests.support.strategies import planned, reached


def test_what_was_refused_is_left_out_and_all_else_is_done():
    world = failing(TWO_RULES, FAR)
    assert world.workers[0].has.flows.keys() == {CAMERA}
    assert world.has.memberships == TWO_RULES.state.memberships
    assert world.reconciler.is_settled


def pauses_of_failure(world, count):
    """Return the seconds between the tries of what is broken."""
    pauses = []
    for _ in range(count):
        pauses.append(world.reconciler.next_deadline() - world.now)
        world.wait(pauses[-1])
        while world.workers[0].batch:
            world.answer(0)
        if world.performing:
            world.perform()
    return pauses


@pytest.mark.parametrize("thing", [NEAR, CAMERA, Ingress(1, 2048), Membership(1, "239.1.1.1")])
def test_what_failed_is_tried_again_after_one_second_doubling_to_thirty(thing):
    world = failing(ONE_RULE, thing)
    assert pauses_of_failure(world, 7) == [1, 2, 4, 8, 16, 30, 30]
    world.broken.clear()
    world.converge()
    assert world.reconciler.running == reached(ONE_RULE.state)
    assert world.reconciler.failures.by_subject == {}


def test_a_new_plan_tries_at_once_what_had_failed():
    world = failing(ONE_RULE, Membership(1, "239.1.1.1"))
    world.since()
    world.plan(ONE_RULE)
    assert world.since() == [Perform((Acquire(Membership(1, "239.1.1.1")),))]


def test_a_group_that_cannot_be_left_is_tried_again_after_a_pause_and_not_at_once():
    world = settled(ONE_RULE)
    world.broken.add(Membership(1, "239.1.1.1"))
    world.plan(planned({"sensors": ([SENSORS], [TO_NEAR])}))
    world.answer(0)
    world.perform()
    assert not world.performing
    assert pauses_of_failure(world, 3) == [1, 2, 4]


def test_what_one_of_two_workers_refuses_is_not_tried_at_once_because_the_other_could():
    world = World()
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, count=2))
    world.hello(0)
    world.hello(1)
    world.refuse(1, 0)
    world.answer(0)
    for _ in range(5):
        for worker in (0, 1):
            if world.workers[worker].batch:
                world.answer(worker)
    assert world.reconciler.failures.by_subject.keys() == {Ingress(1, 2048)}
    assert world.reconciler.next_deadline() == world.now + 1
    world.converge()
    assert world.reconciler.failures.by_subject == {}


# The verdicts.

MANY = planned(
    {
        "camera": ([CAMERA], [TO_NEAR, TO_FAR]),
        "sensors": ([SENSORS], [TO_FAR]),
        "feed": ([LINE_A, LINE_B], [TO_NEAR]),
        "tunnel": ([TUNNEL], [TO_NEAR]),
    }
)
WELL = RuleStatus(RuleState.ACTIVE)


def states(world):
    return {
        name: str(verdict.state) for name, verdict in world.reconciler.statuses().items() if verdict != WELL
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
def test_a_verdict_is_failed_where_no_packet_can_pass_and_active_with_a_reason_where_some_can(
    broken, expected
):
    assert states(failing(MANY, *broken)) == expected


def test_a_verdict_gives_every_reason_once_after_the_one_of_the_plan():
    plan = Plan(
        MANY.state, {**MANY.rules, "camera": RuleStatus(RuleState.ACTIVE, "1 of 3 outputs does not run")}
    )
    world = World()
    world.plan(plan)
    world.hello(0)
    for thing, reason in ((NEAR, "in use"), (FAR, "no room")):
        at = [subject(action) for action in world.workers[0].batch.actions].index(thing)
        number = world.workers[0].batch.number
        world.workers[0].batch = None
        world.reconciler.batch_refused(0, number, {at: reason}, world.now)
        world.look()
    verdicts = world.reconciler.statuses()
    assert verdicts["camera"] == RuleStatus(RuleState.FAILED, "1 of 3 outputs does not run; in use; no room")
    assert verdicts["feed"] == RuleStatus(RuleState.FAILED, "in use")


def test_a_refusal_that_comes_after_the_plan_has_changed_says_nothing_of_the_new_one():
    world = World()
    world.plan(ONE_RULE)
    world.hello(0)
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, frame_size=4096))
    world.refuse(0, 0)
    world.converge()
    assert world.reconciler.statuses() == ONE_RULE.rules


def test_a_ring_that_cannot_grow_is_closed_with_its_flows_until_it_can():
    world = settled(ONE_RULE)
    world.broken.add(Ingress(1, 4096))
    world.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, frame_size=4096))
    world.answer(0)
    (_, last) = world.since()
    assert last.actions == (DeleteFlow(0, CAMERA), Close(0, Ingress(1, 2048)))


def test_a_failure_keeps_no_dead_worker_from_coming_back():
    world = failing(ONE_RULE, NEAR)
    world.exit(0)
    world.wait(0.1)
    assert world.since()[-1] == Start(0)
