"""The age of a packet does not change when the clock is set."""

import pytest

from mcrelay.status.ages import MAX_DETECTION_S, MAX_SETTINGS, ClockHistory

NOON = 1_800_000_000.0


class Host:
    """A host whose clock can be set."""

    def __init__(self):
        self.seconds, self.ahead = 5000.0, NOON
        self.history = ClockHistory()
        self.sample()

    @property
    def time(self):
        return self.seconds + self.ahead

    def sample(self):
        self.history.sample(self.time, self.seconds)

    def age(self, time_of_day):
        return self.history.age(time_of_day, self.seconds)

    def let_pass(self, seconds):
        self.seconds += seconds
        self.sample()

    def set_clock(self, by):
        self.ahead += by
        self.sample()


@pytest.fixture
def host():
    return Host()


def test_an_age_is_the_difference_while_the_clock_is_not_set(host):
    then = host.time
    host.let_pass(7.5)
    assert host.age(then) == pytest.approx(7.5)


@pytest.mark.parametrize("by", [-86_400.0, -60.0, 60.0, 86_400.0])
def test_an_age_does_not_change_when_the_clock_is_set(host, by):
    then = host.time
    host.let_pass(7.5)
    host.set_clock(by)
    assert host.age(then) == pytest.approx(7.5)
    host.let_pass(3)
    assert host.age(then) == pytest.approx(10.5)
    assert host.age(host.time - 1) == pytest.approx(1)


def test_a_packet_that_came_before_the_step_was_sampled_is_of_the_new_time(host):
    host.let_pass(100)
    host.seconds += 1  # the clock was set in that second, and then a packet came
    then = host.time - 3600 - 0.5
    host.set_clock(-3600)
    assert host.age(then) == pytest.approx(0.5)
    assert MAX_DETECTION_S > 1


def test_a_packet_from_before_the_start_of_this_process_is_old(host):
    assert host.age(host.time - 4000) == pytest.approx(4000)


def test_a_stamp_that_fits_no_setting_of_the_clock_has_no_age(host):
    assert host.age(host.time + 4000) == 0.0


def test_the_memory_of_settings_is_bounded(host):
    for _ in range(10 * MAX_SETTINGS):
        host.let_pass(1)
        host.set_clock(-1)
    assert len(host.history._settings) == MAX_SETTINGS
