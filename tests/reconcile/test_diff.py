"""The difference reaches what is desired, touches nothing else, and is sound at every step on the way."""

from copy import deepcopy

from hypothesis import given

from mcrelay.model.actions import (
    CloseEgress,
    CloseIngress,
    DeleteFlow,
    Join,
    Leave,
    OpenEgress,
    OpenIngress,
    OpenTrace,
    ReleasePort,
    ReservePort,
    SetFlow,
    StartWorker,
    applied,
)
from mcrelay.model.state import DesiredState, Ingress, RunningState, WorkerState
from mcrelay.reconcile.diff import diff
from mcrelay.reconcile.plan import claim
from tests.support.strategies import desired_states, plans, reached, running_states

ADDITIONS = (StartWorker, OpenIngress, OpenEgress, SetFlow, OpenTrace, ReservePort, Join)


def in_both(running, desired):
    """Return what stays as it is: (worker, thing) and, of the supervisor, (None, thing)."""
    for worker in running.workers.keys() & desired.workers.keys():
        have, wanted = running.workers[worker], desired.workers[worker]
        yield from ((worker, one) for one in have.ingress & wanted.ingress)
        yield from ((worker, one) for one in have.egress & wanted.egress)
        yield from ((worker, flow) for flow, _ in have.flows.items() & wanted.flows.items())
    yield from ((None, one) for one in running.memberships & desired.memberships)
    yield from ((None, one) for one in running.reservations & desired.reservations)


def touched(action):
    """Return (worker, thing) of an action, None where it is about a process."""
    match action:
        case OpenIngress(worker, thing) | CloseIngress(worker, thing):
            return worker, thing
        case OpenEgress(worker, thing) | CloseEgress(worker, thing):
            return worker, thing
        case SetFlow(worker, thing, _) | DeleteFlow(worker, thing):
            return worker, thing
        case Join(thing) | Leave(thing) | ReservePort(thing) | ReleasePort(thing):
            return None, thing


def assert_sound(state):
    """Every flow has its ring and its sockets; what is joined or held has its flow."""
    for worker in state.workers.values():
        for flow, route in worker.flows.items():
            assert flow.ifindex in {ingress.ifindex for ingress in worker.ingress}
            assert {output.egress for output in route.outputs} <= worker.egress
    relayed = {claim(flow) for worker in state.workers.values() for flow in worker.flows}
    assert state.memberships | state.reservations <= relayed


@given(running_states, desired_states)
def test_applying_the_diff_reaches_the_desired_state(running, desired):
    assert applied(running, diff(running, desired)) == reached(desired)


@given(desired_states)
def test_the_same_state_needs_no_action(desired):
    assert diff(reached(desired), desired) == []
    assert diff(reached(desired), deepcopy(desired)) == []


@given(running_states, desired_states)
def test_what_stays_as_it_is_is_in_no_action(running, desired):
    assert not {touched(action) for action in diff(running, desired)} & set(
        in_both(running, reached(desired))
    )


@given(running_states, desired_states)
def test_additions_stand_before_removals_and_no_action_is_there_twice(running, desired):
    actions = diff(running, desired)
    is_addition = [isinstance(action, ADDITIONS) for action in actions]
    assert is_addition == sorted(is_addition, reverse=True)
    assert len(set(actions)) == len(actions)


@given(plans, plans)
def test_every_step_on_the_way_is_sound(running, desired):
    state = reached(running.state)
    for action in diff(state, desired.state):
        state = applied(state, [action])
        assert_sound(state)


@given(plans)
def test_groups_are_joined_and_ports_held_after_all_else_is_in_place(desired):
    kinds = [isinstance(action, Join | ReservePort) for action in diff(RunningState(), desired.state)]
    assert kinds == sorted(kinds)


@given(running_states, desired_states)
def test_a_ring_that_changes_its_size_is_replaced_and_not_closed(running, desired):
    actions = diff(running, desired)
    opened = {(a.worker, a.ingress.ifindex) for a in actions if isinstance(a, OpenIngress)}
    closed = {(a.worker, a.ingress.ifindex) for a in actions if isinstance(a, CloseIngress)}
    assert not opened & closed


def test_a_larger_mtu_is_one_action():
    before = RunningState({0: WorkerState(frozenset({Ingress(1, 2048)}))})
    after = DesiredState(WorkerState(frozenset({Ingress(1, 16384)})), 1)
    assert diff(before, after) == [OpenIngress(0, Ingress(1, 16384))]
