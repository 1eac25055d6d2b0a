"""A trial outlives the death of the supervisor, and a restart completes a rollback."""

import json
import logging

import pytest

from mcrelay.config.problems import ConfigError
from mcrelay.storage import config_files
from mcrelay.storage.state_dir import MAX_ENTRIES
from tests.support.configuration_harness import NOW, OTHER, TRIED, Daemon, text


class Death(BaseException):
    """The end of the supervisor at this point."""


def die(*_):
    raise Death


@pytest.fixture
def daemon(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    return Daemon(tmp_path)


@pytest.mark.parametrize("content", [TRIED, OTHER])
def test_a_trial_outlives_a_crash_whatever_the_files_contain_now(daemon, content):
    daemon.try_(TRIED)
    daemon.file.write_text(content)
    daemon.restart(60)
    assert (daemon.outcome, daemon.configuration.generation) == ("started", 1)
    assert "clock" in daemon.rules
    assert daemon.trial["until"] == NOW.time + 120
    assert daemon.wait(60)
    assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")
    daemon.restart()
    assert daemon.rules == {"feed"}


def test_a_trial_that_outlived_a_crash_can_be_confirmed(daemon):
    daemon.try_(TRIED)
    daemon.restart(60)
    daemon.confirm()
    assert daemon.outcome == "confirmed"
    daemon.restart(1000)
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")


@pytest.mark.parametrize(("seconds", "boot"), [(120, "this boot"), (1, "the next boot")])
@pytest.mark.parametrize("content", [TRIED, OTHER])
def test_a_trial_that_ended_before_the_restart_is_rolled_back_at_the_start(daemon, seconds, boot, content):
    daemon.try_(TRIED)
    daemon.file.write_text(content)
    daemon.restart(seconds, boot)
    assert (daemon.rules, daemon.outcome, daemon.trial) == ({"feed"}, "rolled_back", None)
    assert not daemon.reload_if_changed()
    daemon.restart()
    assert daemon.rules == {"feed"}


def test_an_invalid_file_on_trial_is_rolled_back_at_the_start(daemon, caplog):
    daemon.try_(TRIED)
    daemon.file.write_text("version: 2")
    daemon.restart()
    assert (daemon.rules, daemon.outcome, daemon.trial) == ({"feed"}, "rolled_back", None)
    assert f"{daemon.file}:1" in caplog.text


def test_a_start_with_an_invalid_file_and_no_trial_fails(daemon):
    daemon.file.write_text("version: 2")
    with pytest.raises(ConfigError):
        daemon.restart()


@pytest.mark.parametrize("rest", ["refused.json", "history/000003.json"])
def test_a_restart_completes_a_rollback_that_a_crash_interrupted(daemon, rest):
    daemon.try_(TRIED)
    trial = (daemon.state / "trial.json").read_bytes()
    daemon.wait(120)
    (daemon.state / "trial.json").write_bytes(trial)
    (daemon.state / rest).unlink()
    daemon.restart()
    assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")
    assert not (daemon.state / "trial.json").exists()
    daemon.restart()
    assert daemon.rules == {"feed"}


def test_a_restart_completes_a_rollback_to_a_config_of_many_reloads_ago(daemon, monkeypatch):
    daemon.try_(TRIED)
    for port in range(1, MAX_ENTRIES + 5):
        daemon.reload(text(clock=port))
    monkeypatch.setattr(daemon.state_directory, "write_rolled_back", die)
    with pytest.raises(Death):
        daemon.wait(120)
    daemon.restart()
    assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")


def changed(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("{"),
        lambda path: changed(path, contents=[["/etc/mcrelay.yaml", text(evil=6666)]]),
        lambda path: changed(path, contents=[["/etc/mcrelay.yaml", "\ud800"]]),
    ],
)
def test_the_files_run_with_an_error_if_the_confirmed_entry_is_unusable(daemon, caplog, spoil):
    daemon.try_(TRIED)
    spoil(daemon.state / "history" / "000001.json")
    daemon.restart()
    assert (daemon.rules, daemon.outcome, daemon.trial) == ({"clock"}, "started", None)
    assert "cannot restore the confirmed configuration" in caplog.text


def test_an_entry_that_is_no_valid_config_is_unusable(daemon, caplog):
    daemon.try_(TRIED)
    contents = [(str(daemon.file), b"version: 2")]
    as_text = [[name, content.decode()] for name, content in contents]
    changed(daemon.state / "history" / "000001.json", contents=as_text, hash=config_files.digest(contents))
    daemon.restart()
    assert daemon.rules == {"clock"}
    assert "is not a valid configuration" in caplog.text
