"""Files are read soon after their last change, and not while they change."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.reload.debounce import EVENT_DELAY_S, OPEN_QUIET_S, POLL_INTERVAL_S, QUIET_S, Debouncer

STEP = 0.01


def debouncer_after_a_read(stamps="first", now=100.0):
    """Return a debouncer that let the files be read at `now`."""
    debouncer = Debouncer(due=now - QUIET_S)
    assert not debouncer.should_read(stamps, now - QUIET_S)
    assert debouncer.should_read(stamps, now)
    return debouncer


def test_files_are_read_once_their_stamps_were_equal_for_a_while():
    debouncer = Debouncer(due=0.0)
    assert not debouncer.should_read("some", 0.0)
    assert debouncer.due == QUIET_S
    assert not debouncer.should_read("other", QUIET_S)
    assert debouncer.due == 2 * QUIET_S
    assert debouncer.should_read("other", 2 * QUIET_S)


def test_files_that_did_not_change_are_not_read_again():
    debouncer = debouncer_after_a_read()
    assert debouncer.due == 100.0 + POLL_INTERVAL_S
    assert not debouncer.should_read("first", 105.0)
    assert not debouncer.should_read("first", 105.0 + QUIET_S)


def test_files_that_changed_back_are_not_read():
    debouncer = debouncer_after_a_read()
    assert not debouncer.should_read("second", 105.0)
    assert not debouncer.should_read("first", 105.0 + QUIET_S)
    assert debouncer.due == 105.0 + QUIET_S + POLL_INTERVAL_S


def test_an_event_causes_a_look_at_once():
    debouncer = debouncer_after_a_read()
    debouncer.record_event(103.0)
    assert debouncer.due == 103.0


def test_many_events_cause_looks_at_a_limited_rate():
    debouncer = debouncer_after_a_read()
    debouncer.record_event(103.0)
    debouncer.should_read("first", 103.0)
    for now in (103.1, 103.2):
        debouncer.record_event(now)
        assert debouncer.due == 103.0 + QUIET_S


def test_an_event_never_delays_a_look():
    debouncer = debouncer_after_a_read()
    debouncer.should_read("second", 101.0)
    debouncer.record_event(101.2)
    assert debouncer.due == 101.0 + QUIET_S
    debouncer.record_event(102.0)
    assert debouncer.due == 101.0 + QUIET_S


def test_a_file_that_is_open_for_writing_is_read_when_it_is_closed():
    debouncer = debouncer_after_a_read()
    assert not debouncer.should_read("second", 101.0, is_open=True)
    assert not debouncer.should_read("second", 102.0, is_open=True)
    assert debouncer.due == 102.0 + QUIET_S
    assert debouncer.should_read("second", 102.1)


def test_a_file_that_stays_open_for_writing_is_read_later():
    debouncer = debouncer_after_a_read()
    assert not debouncer.should_read("second", 101.0, is_open=True)
    assert debouncer.should_read("second", 101.0 + OPEN_QUIET_S, is_open=True)


def test_a_change_without_an_event_shows_that_events_are_missed():
    debouncer = debouncer_after_a_read()
    debouncer.should_read("second", 105.0)
    assert not debouncer.has_missed_events(105.0)
    assert debouncer.has_missed_events(105.0 + EVENT_DELAY_S)
    debouncer.record_observer_restart()
    assert not debouncer.has_missed_events(105.0 + EVENT_DELAY_S)


@pytest.mark.parametrize("event", [104.9, 105.5])
def test_an_event_may_come_before_the_look_or_shortly_after_it(event):
    debouncer = debouncer_after_a_read()
    if event < 105.0:
        debouncer.record_event(event)
    debouncer.should_read("second", 105.0)
    if event > 105.0:
        debouncer.record_event(event)
    assert not debouncer.has_missed_events(110.0)


def test_files_that_do_not_change_need_no_event():
    debouncer = debouncer_after_a_read()
    debouncer.should_read("first", 105.0)
    assert not debouncer.has_missed_events(110.0)


moments = st.floats(0, 20).map(lambda moment: round(moment, 2))


@given(st.lists(moments, max_size=30), st.lists(moments, max_size=30))
def test_every_state_that_lasts_is_read_once_and_none_that_does_not(changes, events):
    """Simulate 40 seconds with changes of the files and events, which need not belong together."""
    debouncer = Debouncer(due=0.0)
    reads, looks = [], []
    for step in range(4001):
        now = round(step * STEP, 2)
        if now in events:
            debouncer.record_event(now)
        if debouncer.due <= now:
            looks.append(now)
            if debouncer.should_read(state := sum(change <= now for change in changes), now):
                reads.append((now, state))
    times = [-1.0, *sorted(changes)]
    assert all(now - max(time for time in times if time <= now) >= QUIET_S - STEP for now, _ in reads)
    assert all(earlier[1] < later[1] for earlier, later in pairwise(reads))
    assert reads[-1][1] == len(changes)
    assert reads[-1][0] <= times[-1] + POLL_INTERVAL_S + QUIET_S + 2 * STEP
    assert all(later - earlier >= QUIET_S - STEP / 10 for earlier, later in pairwise(looks))


@given(st.lists(moments, min_size=1, max_size=30))
def test_a_change_with_an_event_is_read_within_two_intervals(changes):
    debouncer = debouncer_after_a_read(stamps=0, now=-1.0)
    last = max(changes)
    for step in range(-100, 3000):
        now = round(step * STEP, 2)
        state = sum(change <= now for change in changes)
        if now in changes:
            debouncer.record_event(now)
        if debouncer.due <= now and debouncer.should_read(state, now) and state == len(changes):
            assert last + QUIET_S - STEP <= now <= last + 2 * QUIET_S + 2 * STEP
            return
    raise AssertionError("never read")
