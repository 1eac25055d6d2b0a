"""A timer runs at its deadline, and the earliest deadline ends the wait."""

import pytest

from mcrelay.supervisor.timers import Timer, run_due, seconds_left


def at(due):
    return lambda now: due


@pytest.mark.parametrize(
    ("deadlines", "left"), [([], None), ([None, None], None), ([None, 12.0, 11.0], 1.0), ([9.0, 12.0], 0.0)]
)
def test_the_wait_ends_at_the_earliest_deadline(deadlines, left):
    assert seconds_left([Timer(at(due)) for due in deadlines], 10.0) == left


def test_timers_that_are_due_run_in_their_order():
    runs = []
    timers = [
        Timer(at(9.0), lambda: runs.append("past")),
        Timer(at(10.1), lambda: runs.append("later")),
        Timer(at(None), lambda: runs.append("none")),
        Timer(at(10.0), lambda: runs.append("now")),
        Timer(at(10.0)),
    ]
    run_due(timers, 10.0)
    assert runs == ["past", "now"]


def test_a_timer_that_another_one_moved_does_not_run():
    dues = {"second": 9.0}
    timers = [
        Timer(at(9.0), lambda: dues.update(second=20.0)),
        Timer(lambda now: dues["second"], lambda: pytest.fail("it was moved")),
    ]
    run_due(timers, 10.0)


def test_a_deadline_may_be_relative_to_now():
    runs = []
    timers = [Timer(lambda now: now + 0.0, lambda: runs.append("ended"))]
    assert seconds_left(timers, 10.0) == 0.0
    run_due(timers, 10.0)
    assert runs == ["ended"]
