"""A config on trial stays only if it is confirmed; the files never change."""

import errno
import logging
import os
from pathlib import Path

import pytest

from mcrelay.storage import json_file
from mcrelay.storage.state_dir import entry_numbers, read_entry
from tests.support.configuration_harness import CONFIRMED, NOW, OTHER, TRIED, Daemon, text


def read_only(path, *_):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.fixture
def daemon(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    return Daemon(tmp_path)


def test_a_tried_config_runs_and_the_end_of_its_trial_is_shown(daemon):
    assert daemon.try_(TRIED)
    assert (daemon.outcome, daemon.result["cause"]) == ("applied", "try")
    assert daemon.rules == {"clock"}
    assert daemon.trial == {
        "generation": 2,
        "hash": daemon.configuration.hash,
        "until": NOW.time + 120,
        "confirmed": read_entry(daemon.state, 1).hash,
    }
    assert "applied: generation 2 (on trial until " in daemon.notifier.states[-1]


def test_a_confirmed_config_stays(daemon):
    daemon.try_(TRIED)
    daemon.confirm()
    assert (daemon.outcome, daemon.result["cause"]) == ("confirmed", "confirm")
    assert daemon.trial is daemon.configuration.trials.confirmed is None
    assert daemon.wait(1000) is None
    daemon.restart()
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")
    assert daemon.history() == [("started", "start", False), ("applied", "try", False)]


def test_only_the_confirmed_entry_of_the_history_is_no_longer_on_trial(daemon):
    daemon.try_(TRIED)
    daemon.reload(OTHER)
    daemon.confirm()
    assert [on_trial for _, _, on_trial in daemon.history()] == [False, True, False]


def test_a_config_that_a_restart_would_roll_back_is_not_confirmed(daemon, monkeypatch):
    daemon.try_(TRIED)
    monkeypatch.setattr(json_file, "remove", read_only)
    daemon.confirm()
    assert daemon.outcome == "refused"
    assert "a restart would still roll back: " in daemon.result["lines"][0]
    monkeypatch.undo()
    daemon.confirm()
    assert (daemon.outcome, daemon.trial) == ("confirmed", None)


def test_a_confirmed_config_stays_confirmed_if_the_history_cannot_be_written(daemon, monkeypatch, caplog):
    daemon.try_(TRIED)
    monkeypatch.setattr(json_file, "write", read_only)
    daemon.confirm()
    assert daemon.outcome == "confirmed"
    assert "000002.json: read-only file system" in caplog.text
    monkeypatch.undo()
    daemon.restart()
    assert daemon.rules == {"clock"}


def test_the_running_config_can_be_confirmed_without_its_entry_in_the_history(daemon, caplog):
    daemon.try_(TRIED)
    (daemon.state / "history" / "000002.json").unlink()
    daemon.confirm()
    assert daemon.outcome == "confirmed"
    assert "000002.json: there is no such entry" in caplog.text


def test_a_trial_that_could_not_be_removed_is_removed_with_the_next_change(daemon, monkeypatch, caplog):
    daemon.try_(TRIED)
    monkeypatch.setattr(json_file, "remove", read_only)
    daemon.wait(120)
    assert "after a restart, the trial will end again" in caplog.text
    daemon.reload(TRIED)
    assert "cannot update the trial file: " in caplog.text
    monkeypatch.undo()
    daemon.reload(OTHER)
    daemon.restart()
    assert (daemon.rules, daemon.outcome) == ({"clock", "extra"}, "started")


def test_an_unconfirmed_config_is_rolled_back_and_the_files_stay(daemon, caplog):
    daemon.try_(TRIED)
    assert daemon.wait(119.9) is None
    assert daemon.wait(0.2)
    assert (daemon.rules, daemon.configuration.generation) == ({"feed"}, 3)
    assert (daemon.outcome, daemon.result["cause"]) == ("rolled_back", "deadline")
    assert (daemon.result["changes"]["added"], daemon.result["changes"]["removed"]) == (["feed"], ["clock"])
    assert daemon.trial is None
    assert daemon.file.read_text() == TRIED
    assert daemon.notifier.states[-1] == "rolled back: generation 3, 0 rules"
    assert "generation 2 was not confirmed in time" in caplog.text
    assert daemon.history()[-1] == ("rolled_back", "deadline", False)


def test_a_config_that_was_rolled_back_does_not_return_without_a_request(daemon):
    daemon.try_(TRIED)
    daemon.wait(120)
    daemon.file.touch()
    assert not daemon.reload_if_changed()
    for _ in range(2):
        daemon.restart()
        assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")
        assert not daemon.reload_if_changed()
    assert len(daemon.history()) == 3
    daemon.restart(boot="the next boot")
    assert daemon.rules == {"feed"}


def test_an_explicit_reload_accepts_files_that_were_rolled_back(daemon):
    daemon.try_(TRIED)
    daemon.wait(120)
    assert daemon.reload()
    assert (daemon.rules, daemon.outcome, daemon.trial) == ({"clock"}, "applied", None)
    daemon.restart()
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")


def test_a_config_that_was_rolled_back_can_be_tried_again(daemon):
    daemon.try_(TRIED)
    daemon.wait(120)
    assert daemon.try_(TRIED)
    assert daemon.trial["generation"] == 4
    daemon.confirm()
    daemon.restart()
    assert daemon.rules == {"clock"}


def test_files_that_equal_the_running_config_lift_the_refusal(daemon):
    daemon.try_(TRIED)
    daemon.wait(120)
    daemon.file.write_text(CONFIRMED)
    assert not daemon.reload_if_changed()
    assert daemon.outcome == "unchanged"
    daemon.file.write_text(TRIED)
    daemon.restart()
    assert daemon.rules == {"clock"}


def test_only_the_last_rollback_is_remembered(daemon):
    daemon.try_(TRIED)
    daemon.wait(120)
    daemon.reload(OTHER)
    daemon.file.write_text(TRIED)
    daemon.restart()
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")


def test_a_change_after_a_rollback_is_accepted(daemon):
    daemon.try_(TRIED)
    daemon.wait(120)
    daemon.file.write_text(OTHER)
    assert daemon.reload_if_changed()
    assert (daemon.rules, daemon.trial) == ({"clock", "extra"}, None)
    daemon.restart()
    assert (daemon.rules, daemon.outcome) == ({"clock", "extra"}, "started")


def test_a_trial_may_begin_before_the_change(daemon):
    assert not daemon.try_(CONFIRMED)
    assert (daemon.outcome, daemon.trial["generation"]) == ("unchanged", 1)
    daemon.file.write_text(TRIED)
    assert daemon.reload_if_changed()
    assert (daemon.trial["generation"], daemon.trial["hash"]) == (2, daemon.configuration.hash)
    assert daemon.wait(120)
    assert daemon.rules == {"feed"}


def test_a_trial_without_a_change_ends_without_a_reload(daemon):
    daemon.try_(CONFIRMED)
    assert daemon.wait(120) is False
    assert (daemon.result["begun"], daemon.outcome, daemon.trial) == (2, "unchanged", None)
    assert daemon.configuration.generation == 1
    assert daemon.history() == [("started", "start", False)]


def test_a_trial_without_a_change_yet_outlives_a_crash(daemon):
    daemon.try_(CONFIRMED)
    daemon.restart(60)
    assert daemon.trial["until"] == NOW.time + 120
    daemon.reload(TRIED)
    assert daemon.wait(60)
    assert daemon.rules == {"feed"}


def test_an_invalid_file_begins_no_trial(daemon):
    assert not daemon.try_(text(feed=70000))
    assert (daemon.outcome, daemon.trial) == ("rejected", None)
    assert not (daemon.state / "trial.json").exists()


@pytest.mark.parametrize(
    "applied", [lambda daemon: daemon.reload(OTHER), lambda daemon: daemon.reload_if_changed()]
)
def test_a_change_during_a_trial_is_on_trial_until_the_same_end(daemon, applied):
    daemon.try_(TRIED)
    daemon.wait(60)
    daemon.file.write_text(OTHER)
    assert applied(daemon)
    assert daemon.outcome == "applied"
    assert (daemon.trial["generation"], daemon.trial["until"]) == (3, NOW.time + 120)
    assert daemon.wait(60)
    assert daemon.rules == {"feed"}
    assert not daemon.reload_if_changed(), "it was rolled back, too"


def test_an_invalid_file_during_a_trial_does_not_change_the_trial(daemon):
    daemon.try_(TRIED)
    assert not daemon.try_("{", 500)
    assert (daemon.outcome, daemon.rules) == ("rejected", {"clock"})
    assert daemon.trial["until"] == NOW.time + 120


@pytest.mark.parametrize(("content", "outcome"), [(TRIED, "unchanged"), (OTHER, "applied")])
def test_a_second_try_moves_the_end(daemon, content, outcome):
    daemon.try_(TRIED)
    daemon.wait(100)
    daemon.try_(content)
    assert daemon.outcome == outcome
    assert daemon.wait(100) is None
    assert daemon.wait(20)
    assert daemon.rules == {"feed"}


def test_a_confirmed_config_that_was_applied_again_needs_no_rollback(daemon, caplog):
    daemon.try_(TRIED)
    daemon.reload(CONFIRMED)
    assert daemon.trial is not None
    assert daemon.wait(120) is False
    assert (daemon.rules, daemon.configuration.generation, daemon.trial) == ({"feed"}, 3, None)
    assert "the running configuration is the confirmed one" in caplog.text
    daemon.restart()
    assert daemon.outcome == "started"


def test_a_confirmation_without_a_trial_is_refused(daemon):
    daemon.confirm()
    assert daemon.outcome == "refused"
    assert daemon.result["lines"] == ["mcrelay confirm: nothing is on trial"]
    assert daemon.notifier.states[-1].startswith("refused: mcrelay confirm: nothing is on trial; running on")


def test_a_confirmation_of_an_older_generation_is_refused(daemon):
    daemon.try_(TRIED)
    daemon.reload(OTHER)
    daemon.confirm(2)
    assert daemon.outcome == "refused"
    assert daemon.result["problems"][0]["message"] == "generation 3 is on trial, not 2"
    assert daemon.trial is not None


def test_a_request_that_cannot_be_read_is_refused(daemon):
    daemon.configuration.refuse_unreadable(Path("/run/mcrelay/request"), "it is not JSON")
    daemon.publish()
    assert (daemon.outcome, daemon.result["cause"]) == ("refused", "hangup")
    assert daemon.result["lines"] == ["mcrelay try or confirm: /run/mcrelay/request: it is not JSON"]


def last_entry(daemon):
    return read_entry(daemon.state, entry_numbers(daemon.state)[-1])


def test_a_rollback_at_a_start_is_in_the_history_with_what_was_rolled_back_and_why(daemon):
    daemon.try_(TRIED)
    tried = daemon.configuration.hash
    daemon.restart(seconds=121.0)
    assert daemon.history()[-1] == ("rolled_back", "start", False)
    ended = f"files {tried[:12]}: the trial ended while no daemon ran, without a confirmation"
    assert last_entry(daemon).reason == daemon.result["reason"] == ended
    assert daemon.configuration.files.state == "differ"


def test_a_rollback_at_a_start_is_in_the_history_although_its_content_is_the_latest_entry(daemon):
    daemon.try_(CONFIRMED)
    daemon.file.write_text(TRIED)  # while no daemon runs
    daemon.restart(seconds=121.0)
    assert daemon.history()[-1] == ("rolled_back", "start", False)
    count = len(daemon.history())
    for _ in range(2):
        daemon.restart()
        assert (daemon.outcome, len(daemon.history())) == ("rolled_back", count)
        assert daemon.result["reason"].endswith("they were rolled back before, and have not changed since")


def test_files_on_trial_that_are_invalid_at_a_start_are_rolled_back_with_the_problem_as_the_reason(daemon):
    daemon.try_(TRIED)
    daemon.file.write_text("version: 2")
    daemon.restart(seconds=1.0)
    assert daemon.history()[-1] == ("rolled_back", "start", False)
    assert "the files on trial are invalid: " in last_entry(daemon).reason
    assert daemon.configuration.files.state == "invalid"
