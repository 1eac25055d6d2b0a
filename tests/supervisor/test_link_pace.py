"""The links are read soon after a change, and seldom while they flap."""

from mcrelay.supervisor.link_pace import FIRST_DELAY_S, LONGEST_DELAY_S, QUIET_S, LinkPace


def test_a_single_change_is_read_at_once():
    pace = LinkPace()
    for now in (0.0, 10.0, 20.0):
        assert pace.record_change(now) == now + FIRST_DELAY_S


def test_links_that_flap_are_read_seldom_and_at_once_after_a_quiet_time():
    pace, now, reads = LinkPace(), 0.0, 0
    while now < 10:
        now, reads = pace.record_change(now), reads + 1
    assert reads < 10 / LONGEST_DELAY_S + 6
    now += 2 * QUIET_S
    assert pace.record_change(now) == now + FIRST_DELAY_S
