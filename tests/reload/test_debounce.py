"""Files are read once they are quiet, and soon after."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.reload.debounce import EVENT_DELAY_S, OPEN_QUIET_S, POLL_INTERVAL_S, QUIET_S, Debouncer

STEP = 0.01


def read_once(stamps="first", now=100.0):
    """What has read its files once, and looked at them at `now`."""
    quiet = Debouncer(due=now - QUIET_S)
    assert not quiet.stamps_taken(stamps, now - QUIET_S)
    assert quiet.stamps_taken(stamps, now)
    return quiet


def test_files_are_read_when_they_have_been_the_same_for_a_while():
    quiet = Debouncer(due=0.0)
    assert not quiet.stamps_taken("some", 0.0)
    assert quiet.due == QUIET_S
    assert not quiet.stamps_taken("other", QUIET_S)
    assert quiet.due == 2 * QUIET_S
    assert quiet.stamps_taken("other", 2 * QUIET_S)


def test_what_was_read_is_not_read_again():
    quiet = read_once()
    assert quiet.due == 100.0 + POLL_INTERVAL_S
    assert not quiet.stamps_taken("first", 105.0)
    assert not quiet.stamps_taken("first", 105.0 + QUIET_S)


def test_files_that_are_as_they_were_before_anybody_read_them_are_not_read():
    quiet = read_once()
    assert not quiet.stamps_taken("second", 105.0)
    assert not quiet.stamps_taken("first", 105.0 + QUIET_S)
    assert quiet.due == 105.0 + QUIET_S + POLL_INTERVAL_S


def test_news_bring_a_look_at_once():
    quiet = read_once()
    quiet.event_seen(103.0)
    assert quiet.due == 103.0


def test_news_that_come_thick_and_fast_bring_a_look_now_and_then():
    quiet = read_once()
    quiet.event_seen(103.0)
    quiet.stamps_taken("first", 103.0)
    for now in (103.1, 103.2):
        quiet.event_seen(now)
        assert quiet.due == 103.0 + QUIET_S


def test_news_never_put_a_look_off():
    quiet = read_once()
    quiet.stamps_taken("second", 101.0)
    quiet.event_seen(101.2)
    assert quiet.due == 101.0 + QUIET_S
    quiet.event_seen(102.0)
    assert quiet.due == 101.0 + QUIET_S


def test_a_file_that_is_open_for_writing_is_read_when_it_is_closed():
    quiet = read_once()
    assert not quiet.stamps_taken("second", 101.0, is_open=True)
    assert not quiet.stamps_taken("second", 102.0, is_open=True)
    assert quiet.due == 102.0 + QUIET_S
    assert quiet.stamps_taken("second", 102.1)


def test_a_file_that_is_open_for_ever_is_read_in_the_end():
    quiet = read_once()
    assert not quiet.stamps_taken("second", 101.0, is_open=True)
    assert quiet.stamps_taken("second", 101.0 + OPEN_QUIET_S, is_open=True)


def test_a_change_without_news_tells_that_nobody_listens():
    quiet = read_once()
    quiet.stamps_taken("second", 105.0)
    assert not quiet.missed_events(105.0)
    assert quiet.missed_events(105.0 + EVENT_DELAY_S)
    quiet.observer_restarted()
    assert not quiet.missed_events(105.0 + EVENT_DELAY_S)


@pytest.mark.parametrize("news", [104.9, 105.5])
def test_news_may_come_before_a_look_or_a_little_later(news):
    quiet = read_once()
    if news < 105.0:
        quiet.event_seen(news)
    quiet.stamps_taken("second", 105.0)
    if news > 105.0:
        quiet.event_seen(news)
    assert not quiet.missed_events(110.0)


def test_files_that_stay_as_they_are_need_no_news():
    quiet = read_once()
    quiet.stamps_taken("first", 105.0)
    assert not quiet.missed_events(110.0)


moments = st.floats(0, 20).map(lambda moment: round(moment, 2))


@given(st.lists(moments, max_size=30), st.lists(moments, max_size=30))
def test_every_state_that_lasts_is_read_once_soon_and_never_while_it_changes(changes, news):
    """Play 40 seconds in which files change and news come, though maybe not of the changes."""
    quiet = Debouncer(due=0.0)
    reads, looks = [], []
    for step in range(4001):
        now = round(step * STEP, 2)
        if now in news:
            quiet.event_seen(now)
        if quiet.due <= now:
            looks.append(now)
            if quiet.stamps_taken(state := sum(change <= now for change in changes), now):
                reads.append((now, state))
    times = [-1.0, *sorted(changes)]
    assert all(now - max(time for time in times if time <= now) >= QUIET_S - STEP for now, _ in reads)
    assert all(earlier[1] < later[1] for earlier, later in pairwise(reads))
    assert reads[-1][1] == len(changes)
    assert reads[-1][0] <= times[-1] + POLL_INTERVAL_S + QUIET_S + 2 * STEP
    assert all(later - earlier >= QUIET_S - STEP / 10 for earlier, later in pairwise(looks))


@given(st.lists(moments, min_size=1, max_size=30))
def test_what_there_is_news_of_is_read_within_two_pauses(changes):
    quiet = read_once(stamps=0, now=-1.0)
    last = max(changes)
    for step in range(-100, 3000):
        now = round(step * STEP, 2)
        state = sum(change <= now for change in changes)
        if now in changes:
            quiet.event_seen(now)
        if quiet.due <= now and quiet.stamps_taken(state, now) and state == len(changes):
            assert last + QUIET_S - STEP <= now <= last + 2 * QUIET_S + 2 * STEP
            return
    raise AssertionError("never read")
