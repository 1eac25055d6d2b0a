"""Packets are stale by their true age, also when the clock was set while they waited."""

import numpy as np
import pytest

from mcrelay.packet.frame import NANOSECONDS, SECONDS
from mcrelay.worker.packet_age import MIN_TIMED_AGE, PacketAges

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Clocks:
    """The clocks of a host. A packet is stamped with the time of day at its arrival."""

    def __init__(self):
        self.since_boot, self.offset = 50 * SECOND, START
        self.ages = PacketAges(lambda: self.since_boot + self.offset, lambda: self.since_boot)
        self.ages.max_age = SECOND
        self.stamps = []

    def wait(self, seconds):
        self.since_boot += round(seconds * SECOND)

    def step(self, seconds):
        """Set the time of day."""
        self.offset += round(seconds * SECOND)

    def arrive(self):
        self.stamps.append(self.since_boot + self.offset)

    def find_stale(self):
        """Let the worker come to all packets, and return which are stale."""
        self.ages.has_stepped()
        frames = np.zeros((len(self.stamps), 64), np.uint32)
        frames[:, SECONDS] = [stamp // SECOND for stamp in self.stamps]
        frames[:, NANOSECONDS] = [stamp % SECOND for stamp in self.stamps]
        found = self.ages.find_stale(frames)
        self.stamps.clear()
        return None if found is None else found.tolist()


@pytest.fixture
def clocks():
    return Clocks()


def test_packets_older_than_the_greatest_age_are_stale(clocks):
    for pause in (1, 1, 0.5):
        clocks.arrive()
        clocks.wait(pause)
    assert clocks.find_stale() == [True, True, False]


def test_a_packet_of_the_greatest_age_is_fresh(clocks):
    clocks.arrive()
    clocks.wait(1)
    assert clocks.find_stale() is None


def test_without_a_greatest_age_no_packet_is_stale(clocks):
    clocks.ages.max_age = None
    clocks.arrive()
    clocks.wait(100)
    assert clocks.find_stale() is None


STEPS = [3600, -3600, 30, -30, 5, -5, 0.005, -0.005]


@pytest.mark.parametrize("step", STEPS)
def test_fresh_packets_stay_fresh_when_the_clock_is_set(clocks, step):
    clocks.arrive()
    clocks.wait(0.1)
    clocks.step(step)
    clocks.arrive()
    clocks.wait(0.1)
    assert clocks.find_stale() is None
    for _ in range(30):
        clocks.arrive()
        clocks.wait(0.2)
        assert clocks.find_stale() is None


@pytest.mark.parametrize("step", STEPS)
def test_packets_that_waited_too_long_are_stale_also_when_the_clock_was_set(clocks, step):
    clocks.arrive()
    clocks.wait(2)
    clocks.arrive()
    clocks.wait(0.5)
    clocks.step(step)
    clocks.wait(0.2)
    clocks.arrive()
    assert clocks.find_stale() == [True, False, False]


@pytest.mark.parametrize("step", STEPS)
def test_packets_after_a_step_are_stale_by_the_new_clock(clocks, step):
    clocks.step(step)
    clocks.arrive()
    assert clocks.find_stale() is None
    clocks.wait(0.5)
    clocks.arrive()
    clocks.wait(1.5)
    clocks.arrive()
    assert clocks.find_stale() == [True, False]


def test_a_step_matters_only_for_as_long_as_packets_may_be_fresh(clocks):
    clocks.step(3600)
    assert clocks.ages.has_stepped()
    clocks.wait(1)
    assert clocks.ages.has_stepped()
    clocks.wait(0.1)
    assert not clocks.ages.has_stepped()


def test_a_process_that_stood_still_between_the_two_clocks_sees_no_step(clocks):
    readings = iter([0, 5 * SECOND])

    def slow_time_of_day():
        clocks.since_boot += next(readings, 0)
        return clocks.since_boot + clocks.offset

    clocks.ages = PacketAges(slow_time_of_day, lambda: clocks.since_boot)
    clocks.ages.max_age = SECOND
    assert not clocks.ages.has_stepped()


class Timer:
    """A timer that records for how long it was started."""

    def __init__(self):
        self.durations = []

    def start(self, nanoseconds):
        self.durations.append(nanoseconds)


@pytest.fixture
def timer(clocks):
    clocks.ages.timer = Timer()
    return clocks.ages.timer


def test_a_period_lasts_until_its_timer_expires_after_half_the_greatest_age(clocks, timer):
    first = clocks.ages.start_period()
    assert clocks.ages.start_period() == first == clocks.ages.period
    assert timer.durations == [SECOND // 2]
    clocks.ages.end_period()
    assert clocks.ages.period != first
    assert clocks.ages.start_period() == clocks.ages.period
    assert timer.durations == [SECOND // 2] * 2


def test_a_new_greatest_age_starts_the_timer_anew(clocks, timer):
    clocks.ages.start_period()
    clocks.ages.max_age = 10 * SECOND
    clocks.ages.start_period()
    assert timer.durations == [SECOND // 2, 5 * SECOND]


def test_without_a_greatest_age_a_period_never_ends(clocks, timer):
    clocks.ages.max_age = None
    assert clocks.ages.start_period() == clocks.ages.period
    assert timer.durations == []


@pytest.mark.parametrize("max_age", [MIN_TIMED_AGE - 1, SECOND])
def test_without_a_timer_or_for_small_ages_there_is_no_period(clocks, timer, max_age):
    clocks.ages.max_age = max_age
    if max_age == SECOND:
        clocks.ages.timer = None
    assert clocks.ages.start_period() is None
    assert timer.durations == []
