"""The rate limit of a trace: a burst of events, then a number per second."""

from hypothesis import given
from hypothesis import strategies as st

from mcrelay.worker.trace_writer import BURST_EVENTS, EVENTS_PER_SECOND, RateLimit

SECOND = 1_000_000_000  # in nanoseconds


def test_a_burst_is_allowed_at_once_and_then_a_number_per_second():
    limit, start = RateLimit(), 1_700_000_000 * SECOND
    assert limit.grant(10, start) == 10
    assert limit.grant(10 * BURST_EVENTS, start) == BURST_EVENTS - 10
    assert limit.grant(1, start) == 0
    assert limit.grant(10 * BURST_EVENTS, start + SECOND // 100) == EVENTS_PER_SECOND // 100
    assert limit.grant(10 * BURST_EVENTS, start + 100 * SECOND) == BURST_EVENTS


def test_a_clock_that_is_set_back_adds_nothing_and_blocks_only_briefly():
    limit, start = RateLimit(), 1_700_000_000 * SECOND
    limit.grant(BURST_EVENTS, start)
    assert limit.grant(BURST_EVENTS, start - 3600 * SECOND) == 0
    assert limit.grant(BURST_EVENTS, start - 3599 * SECOND) == BURST_EVENTS


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, SECOND)), max_size=30))
def test_the_limit_never_exceeds_a_burst_and_the_rate(requests):
    limit, now, total = RateLimit(), SECOND, 0
    for wanted, pause in requests:
        now += pause
        taken = limit.grant(wanted, now)
        assert 0 <= taken <= wanted
        total += taken
    assert total <= BURST_EVENTS + EVENTS_PER_SECOND * (now - SECOND) / SECOND + 1
