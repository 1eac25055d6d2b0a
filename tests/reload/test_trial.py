"""A trial ends in its time and with its boot, and a start goes on where the one before broke off."""

import json
from dataclasses import replace

import pytest

from mcrelay.reload.trial import (
    MAX_TRIAL_S,
    BootTime,
    RolledBackContent,
    StartDecision,
    Trial,
    decide_start,
    parse_rolled_back,
    parse_trial,
)

NOW = BootTime("this boot", 1000.0, 1_795_000_000.0)
PATH, CONFIRMED, TRIED, OTHER = "/etc/mcrelay.yaml", "confirmed", "tried", "other"
TRIAL = Trial(PATH, TRIED, NOW.later(120), 7, CONFIRMED)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (NOW, 120.0),
        (NOW.later(119.5), 0.5),
        (NOW.later(120), 0.0),
        (NOW.later(1e9), 0.0),
        (replace(NOW, boot="the next boot"), 0.0),
        (NOW.later(-MAX_TRIAL_S), 0.0),
    ],
)
def test_a_trial_ends_in_its_time_and_with_its_boot_and_never_lasts_absurdly_long(now, left):
    assert TRIAL.left(now) == left


def test_a_setting_of_the_clock_is_no_time_that_passes():
    assert TRIAL.left(replace(NOW, time=0.0)) == 120.0
    assert TRIAL.end.time == NOW.time + 120


def test_a_trial_can_go_on_with_another_content_and_end_at_another_time():
    assert TRIAL.with_hash(OTHER).hash == OTHER
    assert TRIAL.with_hash(OTHER).confirmed_hash == CONFIRMED
    assert TRIAL.with_end(NOW.later(5)).left(NOW) == 5


def test_what_is_written_is_read_again():
    assert parse_trial(json.loads(json.dumps(TRIAL.as_json()))) == TRIAL
    refusal = RolledBackContent(TRIED, 8)
    assert parse_rolled_back(json.loads(json.dumps(refusal.as_json()))) == refusal


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"until": "soon"}, {"boot_id": 7}, {"hash": None}, {"confirmed": 1.5}, {"config": []}],
)
def test_what_is_no_trial_is_none(change):
    assert parse_trial({**TRIAL.as_json(), **change}) is None
    assert parse_trial({}) is None


@pytest.mark.parametrize("document", [{}, {"version": 1, "hash": 1, "confirmed": 1}, {"version": 1}])
def test_what_is_no_refusal_is_none(document):
    assert parse_rolled_back(document) is None


def test_a_start_without_a_trial_takes_the_files():
    assert decide_start(PATH, OTHER, None, None, NOW) is StartDecision.FILES
    assert decide_start(PATH, OTHER, None, RolledBackContent(TRIED, 7), NOW) is StartDecision.FILES


@pytest.mark.parametrize("content", [TRIED, OTHER, CONFIRMED])
def test_a_start_within_a_trial_goes_on_with_it_whatever_the_files_say(content):
    assert decide_start(PATH, content, TRIAL, None, NOW.later(119)) is StartDecision.ON_TRIAL


@pytest.mark.parametrize("now", [NOW.later(120), replace(NOW, boot="the next boot")])
@pytest.mark.parametrize("content", [TRIED, OTHER])
def test_a_start_after_a_trial_rolls_back_what_nobody_confirmed(content, now):
    assert decide_start(PATH, content, TRIAL, None, now) is StartDecision.ROLLED_BACK


def test_a_start_after_a_trial_with_what_was_confirmed_has_nothing_to_roll_back():
    assert decide_start(PATH, CONFIRMED, TRIAL, None, NOW.later(120)) is StartDecision.FILES


def test_a_trial_of_another_file_is_none_of_this_one():
    assert decide_start("/etc/other.yaml", TRIED, TRIAL, None, NOW) is StartDecision.FILES


def test_a_start_does_not_bring_back_what_was_rolled_back():
    assert decide_start(PATH, TRIED, None, RolledBackContent(TRIED, 8), NOW) is StartDecision.STILL_REFUSED


def test_a_trial_counts_for_more_than_what_was_rolled_back_before_it():
    assert decide_start(PATH, TRIED, TRIAL, RolledBackContent(TRIED, 8), NOW) is StartDecision.ON_TRIAL
