"""Actions change a running state in their order, and change no other value."""

from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.actions import Close, Open, SetFlow, StartWorker, StopWorker, applied, without_worker
from mcrelay.model.state import Egress, Flow, Ingress, Route, RouteOutput, RunningState, WorkerState
from tests.support.strategies import actions, running_states

SMALL, LARGE = Ingress(1, 2048), Ingress(1, 4096)
EGRESS = Egress(2, "10.9.2.1")
FLOW = Flow(1, "239.1.1.1", 5001)
ROUTE = Route("camera", (RouteOutput("plant", EGRESS, "239.2.2.2", 6001, 64, "copy"),))


def possible(state, steps):
    """Leave out the actions for a worker that does not run at that point."""
    running = set(state.workers)
    for action in steps:
        match action:
            case StartWorker(worker):
                running.add(worker)
            case StopWorker(worker):
                running.discard(worker)
        if getattr(action, "worker", None) in running | {None} or isinstance(action, StopWorker):
            yield action


@given(running_states, st.lists(actions, max_size=12), st.integers(0, 12))
def test_actions_at_once_and_in_parts_lead_to_the_same_state(state, steps, cut):
    steps = list(possible(state, steps))
    assert applied(state, steps) == applied(applied(state, steps[:cut]), steps[cut:])


@given(running_states)
def test_no_action_changes_nothing(state):
    assert applied(state, []) == state


def test_a_started_worker_has_no_resources_of_its_predecessor():
    state = RunningState({0: WorkerState()})
    assert applied(state, [Open(0, EGRESS), StartWorker(0)]) == RunningState({0: WorkerState()})


def test_a_stopped_worker_leaves_no_resources():
    state = applied(RunningState(), [StartWorker(0), Open(0, SMALL), Open(0, EGRESS)])
    assert applied(state, [SetFlow(0, FLOW, ROUTE), StopWorker(0)]) == RunningState()


def test_a_ring_of_another_size_replaces_the_one_of_its_link():
    state = applied(RunningState(), [StartWorker(0), Open(0, SMALL), Open(0, LARGE)])
    assert state.workers[0].ingress == {LARGE}


def test_closing_a_ring_that_was_replaced_leaves_its_successor_open():
    state = applied(RunningState(), [StartWorker(0), Open(0, LARGE), Close(0, SMALL)])
    assert state.workers[0].ingress == {LARGE}


def test_actions_do_not_change_the_state_that_they_are_applied_to():
    before = RunningState({0: WorkerState()})
    applied(before, [Open(0, SMALL), SetFlow(0, FLOW, ROUTE)])
    assert before == RunningState({0: WorkerState()})


@given(running_states)
def test_the_death_of_a_worker_removes_only_what_it_had(state):
    left = without_worker(state, 1)
    assert left.resources == state.resources
    assert left.workers == {worker: has for worker, has in state.workers.items() if worker != 1}


def test_an_output_keeps_its_name_when_its_ttl_and_source_change():
    before = RouteOutput("plant", EGRESS, "239.2.2.2", 6001, 64, "copy")
    after = RouteOutput("plant", Egress(2, "10.9.2.7", 4000), "239.2.2.2", 6001, 1, 34)
    assert before.name == after.name == "plant:239.2.2.2:6001"
