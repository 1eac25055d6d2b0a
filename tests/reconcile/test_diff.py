"""The difference leads to the desired state, touches nothing else, and is sound after every action."""

from copy import deepcopy
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.actions import (
    Acquire,
    Close,
    DeleteFlow,
    Open,
    Release,
    SetFlow,
    StartWorker,
    applied,
    without_worker,
)
from mcrelay.model.state import (
    KERNEL,
    Attachment,
    DesiredState,
    Egress,
    Flow,
    Ingress,
    Membership,
    PortReservation,
    RunningState,
    Trace,
    WorkerState,
)
from mcrelay.reconcile.diff import diff
from mcrelay.reconcile.plan import supervisor_resource
from tests.support.strategies import RULES, desired_states, plans, running_as, running_states, with_kernel

ADDITIONS = (StartWorker, Open, SetFlow, Acquire)


def in_both(running, desired):
    """Return what does not change, as (worker, thing); the worker is None for what the supervisor has."""
    for worker in running.workers.keys() & desired.workers.keys():
        have, wanted = running.workers[worker], desired.workers[worker]
        yield from ((worker, one) for one in have.resources & wanted.resources)
        yield from ((worker, flow) for flow, _ in have.flows.items() & wanted.flows.items())
    yield from ((None, one) for one in running.resources & desired.resources)


def touched(action):
    """Return (worker, thing) of an action, None where the action is about a process."""
    match action:
        case Open(worker, thing) | Close(worker, thing):
            return worker, thing
        case SetFlow(worker, thing, _) | DeleteFlow(worker, thing):
            return worker, thing
        case Acquire(thing) | Release(thing):
            return None, thing


def assert_sound(state):
    """Every flow has its ring and its sockets; every membership and reservation has its flow."""
    for number, worker in state.workers.items():
        for flow, route in worker.flows.items():
            if number == KERNEL:
                assert Attachment(flow.ifindex) in worker.resources
                continue
            assert flow.ifindex in {ingress.ifindex for ingress in worker.ingress}
            assert {output.egress for output in route.outputs} <= worker.egress
    relayed = {supervisor_resource(flow) for worker in state.workers.values() for flow in worker.flows}
    assert state.resources <= relayed


@given(running_states, desired_states)
def test_applying_the_diff_reaches_the_desired_state(running, desired):
    assert applied(running, diff(running, desired)) == running_as(desired)


@given(desired_states)
def test_the_same_state_needs_no_action(desired):
    assert diff(running_as(desired), desired) == []
    assert diff(running_as(desired), deepcopy(desired)) == []


@given(running_states, desired_states)
def test_no_action_is_about_what_does_not_change(running, desired):
    assert not {touched(action) for action in diff(running, desired)} & set(
        in_both(running, running_as(desired))
    )


@given(running_states, desired_states)
def test_additions_come_before_removals_and_no_action_comes_twice(running, desired):
    actions = diff(running, desired)
    is_addition = [isinstance(action, ADDITIONS) for action in actions]
    assert is_addition == sorted(is_addition, reverse=True)
    assert len(set(actions)) == len(actions)


@given(plans, plans)
def test_every_step_on_the_way_is_sound(running, desired):
    state = running_as(running.state)
    for action in diff(state, desired.state):
        state = applied(state, [action])
        assert_sound(state)


@given(plans)
def test_groups_are_joined_and_ports_reserved_after_everything_else_is_in_place(desired):
    kinds = [isinstance(action, Acquire) for action in diff(RunningState(), desired.state)]
    assert kinds == sorted(kinds)


def links_of(kind, actions):
    """Return (worker, link) of the rings that actions of a kind are about."""
    rings = [
        action for action in actions if isinstance(action, kind) and isinstance(action.resource, Ingress)
    ]
    return {(action.worker, action.resource.ifindex) for action in rings}


@given(running_states, desired_states)
def test_a_ring_that_changes_its_size_is_replaced_and_not_closed(running, desired):
    actions = diff(running, desired)
    opened = links_of(Open, actions)
    closed = links_of(Close, actions)
    assert not opened & closed


def test_a_larger_mtu_is_one_action():
    before = RunningState({0: WorkerState(frozenset({Ingress(1, 2048)}))})
    after = DesiredState(WorkerState(frozenset({Ingress(1, 16384)})), 1)
    assert diff(before, after) == [Open(0, Ingress(1, 16384))]


@given(plans)
def test_each_kind_is_opened_after_what_it_needs_and_closed_before_it(desired):
    trace, kept = Trace("camera", 1), Egress(9, "10.0.0.99")  # a worker that has nothing to do is stopped
    forwarding = desired.state.forwarding
    forwarding = replace(forwarding, resources=forwarding.resources | {trace, kept})
    state = replace(desired.state, forwarding=forwarding, worker_count=1)
    order = [Attachment, Ingress, Egress, Flow, Trace, PortReservation, Membership]
    for opened in kinds_by_worker(diff(RunningState({0: WorkerState(), KERNEL: WorkerState()}), state)):
        assert opened == sorted(opened, key=order.index)
    nothing = DesiredState(WorkerState(frozenset({kept})), 1)
    for closed in kinds_by_worker(diff(running_as(state), nothing)):
        assert closed == sorted(closed, key=order[::-1].index)


def kinds_by_worker(actions):
    """Return the kinds of what the actions of each worker, of the kernel and of the supervisor are about."""
    return [
        [type(touch[1]) for action in part if (touch := touched(action))]
        for part in batches(actions).values()
    ]


# Two data planes.


def batches(actions):
    """Return the actions of each worker, of the kernel, and of the supervisor (None)."""
    found = {}
    for action in actions:
        found.setdefault(getattr(action, "worker", None), []).append(action)
    return found


def is_forwarded(flow, running, desired):
    """Return whether the kernel or each worker forwards a flow."""
    states = [running.workers.get(worker, WorkerState()) for worker in desired.workers]
    return flow in running.workers.get(KERNEL, WorkerState()).flows or (
        bool(states) and all(flow in state.flows for state in states)
    )


@given(st.data(), plans, st.sets(st.sampled_from(RULES)), st.sets(st.sampled_from(RULES)))
def test_a_flow_that_moves_to_the_other_data_plane_is_forwarded_at_all_times(data, plan, before, after):
    desired = with_kernel(plan.state, after)
    running = running_as(with_kernel(plan.state, before))
    for _ in range(4):
        parts = batches(diff(running, desired))
        for number in data.draw(st.permutations(list(parts))):
            running = applied(running, parts[number])
            assert all(is_forwarded(flow, running, desired) for flow in desired.flows)
    assert running == running_as(desired)


@given(plans, st.sets(st.sampled_from(RULES)))
def test_a_data_plane_that_lost_its_state_gets_its_flows_again(plan, in_kernel):
    desired = with_kernel(plan.state, in_kernel)
    running = running_as(desired)
    for number in desired.states:
        assert (
            applied(without_worker(running, number), diff(without_worker(running, number), desired))
            == running
        )
