"""A process that stands still is found after a few checks, and no other is."""

import pytest

from mcrelay.reconcile.standstill import CHECK_INTERVAL_S, MAX_CHECKS, ProcessObservation, StandstillDetector

PID, OTHER = 4711, 4712


def check(detector, *observations, start=100.0, interval=CHECK_INTERVAL_S, pid=PID):
    """Make one check with each observation; return the results."""
    return [
        detector.check({pid: observation}, start + number * interval)
        for number, observation in enumerate(observations)
    ]


def waiting(progress=7):
    return ProcessObservation(has_packets=True, progress=progress)


def test_a_worker_that_takes_no_packet_although_packets_wait_stands_still():
    *before, last = check(StandstillDetector(), *[waiting()] * (MAX_CHECKS + 1))
    assert not any(before), "the first check cannot know"
    assert last == {PID: "it stood still for 3 s while packets waited for it"}


def sleeping(progress=7):
    return ProcessObservation(has_batch=True, progress=progress)


def test_a_worker_that_sleeps_although_a_batch_waits_stands_still():
    *before, last = check(StandstillDetector(), *[sleeping()] * (MAX_CHECKS + 1))
    assert not any(before)
    assert last == {PID: "it stood still for 3 s while a batch waited for it"}


def test_a_worker_that_was_awake_once_or_used_the_processor_does_not_stand_still():
    awake = ProcessObservation(progress=7)
    assert not any(check(StandstillDetector(), *[*[sleeping()] * (MAX_CHECKS - 1), awake] * 5))
    assert not any(check(StandstillDetector(), *[sleeping(number // 2) for number in range(50)]))


def test_a_worker_that_falls_behind_but_takes_packets_does_not_stand_still():
    assert not any(check(StandstillDetector(), *[waiting(number) for number in range(50)]))


def test_one_packet_in_time_is_enough():
    observations = [*[waiting(1)] * MAX_CHECKS, *[waiting(2)] * MAX_CHECKS]
    assert not any(check(StandstillDetector(), *observations))


def test_a_worker_without_packets_may_do_nothing_for_ever():
    detector = StandstillDetector()
    assert not any(check(detector, *[ProcessObservation(progress=7)] * 50))
    assert not detector.is_active


def test_packets_that_have_just_arrived_after_long_silence_are_no_standstill():
    detector = StandstillDetector()
    check(detector, ProcessObservation(progress=7))
    assert not any(check(detector, waiting(), start=1000.0))
    assert detector.is_active, "the next check comes soon"


def test_a_process_that_a_signal_has_stopped_stands_still_with_or_without_packets():
    *before, last = check(StandstillDetector(), *[ProcessObservation(is_stopped=True)] * MAX_CHECKS)
    assert not any(before)
    assert last == {PID: "it stood still for 3 s while a signal had stopped it"}


def test_a_process_that_continues_in_time_is_spared():
    stopped, goes_on = ProcessObservation(is_stopped=True), ProcessObservation()
    assert not any(check(StandstillDetector(), *[*[stopped] * (MAX_CHECKS - 1), goes_on] * 5))


def test_checks_in_quick_succession_count_once():
    assert not any(check(StandstillDetector(), *[ProcessObservation(is_stopped=True)] * 50, interval=0.01))


def test_a_host_that_was_paused_leaves_its_processes_time_to_go_on():
    detector = StandstillDetector()
    check(detector, waiting(), waiting())
    assert not any(check(detector, waiting(), start=100_000.0)), "the pause is one check"


def test_a_successor_begins_anew():
    detector = StandstillDetector()
    check(detector, *[waiting()] * MAX_CHECKS)
    assert not any(check(detector, *[waiting()] * MAX_CHECKS, pid=OTHER, start=200.0))


@pytest.mark.parametrize(
    ("before", "now", "is_active"),
    [
        (ProcessObservation(progress=1), ProcessObservation(progress=1), False),
        (ProcessObservation(progress=1), ProcessObservation(progress=2), True),
        (ProcessObservation(), ProcessObservation(is_stopped=True), True),
        (ProcessObservation(), ProcessObservation(has_packets=True), True),
    ],
)
def test_the_next_check_comes_soon_while_there_is_work_or_a_process_stands(before, now, is_active):
    detector = StandstillDetector()
    check(detector, before, now)
    assert detector.is_active is is_active
