"""The pace of `mcrelay send`, with a simulated clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.traffic.pacer import Pacer


def simulate_bursts(rate, seconds, delays=()):
    """Return (time, packets) of each burst of a sender that sleeps exactly until packets are due.

    Each of `delays` is a (time, seconds) at which the sender does not get the processor, and for how long.
    """
    pace, now, found, delays = Pacer(rate, 0.0), 0.0, [], list(delays)
    while now < seconds:
        if delays and now >= delays[0][0]:
            now += delays.pop(0)[1]
        if count := pace.packets_due(now):
            found.append((now, count))
            pace.record_sent(count, now)
        now += max(pace.seconds_to_wait(now), 1e-6)
    return found


@pytest.mark.parametrize("rate", [1, 3.7, 100, 5000, 10_000, 20_000, 123_456, 1_000_000])
def test_the_rate_is_kept(rate):
    seconds = max(1.0, 10 / rate)
    sent = sum(count for _, count in simulate_bursts(rate, seconds))
    assert sent == pytest.approx(rate * seconds, rel=0.01, abs=1)


@pytest.mark.parametrize("rate", [1, 100, 9999])
def test_packets_leave_one_at_a_time_at_low_rates(rate):
    assert {count for _, count in simulate_bursts(rate, 5 / rate)} == {1}


@given(rate=st.floats(10, 1e6), delays=st.lists(st.floats(0.001, 0.05), min_size=1, max_size=3))
def test_no_burst_is_longer_than_a_millisecond_of_traffic_however_late_the_sender_is(rate, delays):
    sent = simulate_bursts(rate, 0.1, [(0.02 * place, pause) for place, pause in enumerate(delays)])
    assert max(count for _, count in sent) <= max(1, rate / 1000)


def test_a_late_sender_catches_up_at_no_more_than_twice_the_rate():
    sent = simulate_bursts(20_000, 1.0, [(0.2, 0.1)])
    late = [(now, count) for now, count in sent if 0.301 < now < 0.39]
    assert sum(count for _, count in sent) == pytest.approx(20_000, rel=0.01)
    assert sum(count for _, count in late) == pytest.approx(2 * 20_000 * 0.089, rel=0.05)


def test_packets_that_are_late_by_more_than_a_second_are_skipped():
    pace = Pacer(1000, 0.0)
    pace.record_sent(1, 100.0)
    assert pace.seconds_to_wait(100.0) == pytest.approx(0.0005)
    sent = 0
    for now in (100 + step / 4000 for step in range(8000)):
        if count := pace.packets_due(now):
            pace.record_sent(count, now)
            sent += count
    assert sent == pytest.approx(3000, abs=5)
