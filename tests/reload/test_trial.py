"""A trial ends after its time or with a reboot, and a start continues it or rolls it back."""

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
def test_a_trial_ends_after_its_time_with_a_reboot_or_if_its_end_is_too_far_away(now, left):
    assert TRIAL.left(now) == left


def test_setting_the_clock_does_not_shorten_a_trial():
    assert TRIAL.left(replace(NOW, time=0.0)) == 120.0
    assert TRIAL.end.time == NOW.time + 120


def test_a_trial_can_continue_with_other_contents_and_another_end():
    assert TRIAL.with_hash(OTHER).hash == OTHER
    assert TRIAL.with_hash(OTHER).confirmed_hash == CONFIRMED
    assert TRIAL.with_end(NOW.later(5)).left(NOW) == 5


def test_a_trial_and_a_rolled_back_content_are_read_as_written():
    assert parse_trial(json.loads(json.dumps(TRIAL.as_json()))) == TRIAL
    rolled_back = RolledBackContent(TRIED, 8)
    assert parse_rolled_back(json.loads(json.dumps(rolled_back.as_json()))) == rolled_back


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"until": "soon"}, {"boot_id": 7}, {"hash": None}, {"confirmed": 1.5}, {"config": []}],
)
def test_a_document_that_is_not_a_trial_is_none(change):
    assert parse_trial({**TRIAL.as_json(), **change}) is None
    assert parse_trial({}) is None


@pytest.mark.parametrize("document", [{}, {"version": 1, "hash": 1, "confirmed": 1}, {"version": 1}])
def test_a_document_that_is_not_a_rolled_back_content_is_none(document):
    assert parse_rolled_back(document) is None


def test_a_start_without_a_trial_takes_the_files():
    assert decide_start(PATH, OTHER, None, None, NOW) is StartDecision.FILES
    assert decide_start(PATH, OTHER, None, RolledBackContent(TRIED, 7), NOW) is StartDecision.FILES


@pytest.mark.parametrize("content", [TRIED, OTHER, CONFIRMED])
def test_a_start_during_a_trial_continues_it_with_any_files(content):
    assert decide_start(PATH, content, TRIAL, None, NOW.later(119)) is StartDecision.ON_TRIAL


@pytest.mark.parametrize("now", [NOW.later(120), replace(NOW, boot="the next boot")])
@pytest.mark.parametrize("content", [TRIED, OTHER])
def test_a_start_after_a_trial_rolls_back_unconfirmed_files(content, now):
    assert decide_start(PATH, content, TRIAL, None, now) is StartDecision.ROLLED_BACK


def test_a_start_after_a_trial_takes_confirmed_files():
    assert decide_start(PATH, CONFIRMED, TRIAL, None, NOW.later(120)) is StartDecision.FILES


def test_a_trial_of_another_main_file_does_not_matter():
    assert decide_start("/etc/other.yaml", TRIED, TRIAL, None, NOW) is StartDecision.FILES


def test_a_start_does_not_take_files_that_were_rolled_back():
    assert decide_start(PATH, TRIED, None, RolledBackContent(TRIED, 8), NOW) is StartDecision.STILL_REFUSED


def test_a_trial_has_precedence_over_an_earlier_rollback():
    assert decide_start(PATH, TRIED, TRIAL, RolledBackContent(TRIED, 8), NOW) is StartDecision.ON_TRIAL
