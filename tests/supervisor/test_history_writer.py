"""The history has an entry for each accepted config, and the confirmed entry as long as a trial needs it."""

import errno
import logging
import os

import pytest

from mcrelay.storage import json_file
from mcrelay.storage.state_dir import MAX_ENTRIES, StateDirectory, entry_numbers, read_entry
from mcrelay.supervisor.configuration import Configuration
from tests.support.configuration_harness import CONFIRMED, OTHER, RULE, TRIED, Daemon, text


def read_only(path, *_):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.fixture
def daemon(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    return Daemon(tmp_path)


def test_without_a_state_directory_a_trial_is_refused_and_a_reload_works(daemon):
    holder = daemon.state_directory
    second = StateDirectory(daemon.state)
    second.open()
    daemon.configuration = Configuration(daemon.file, daemon.notifier, second)
    daemon.configuration.load(daemon.now)
    daemon.publish()
    assert not daemon.try_(TRIED)
    assert daemon.outcome == "refused"
    assert "there is no confirmed configuration to restore: " in daemon.result["lines"][0]
    assert "another mcrelay uses" in daemon.result["lines"][0]
    assert daemon.rules == {"feed"}
    assert daemon.reload()
    assert daemon.rules == {"clock"}
    assert holder.latest().number == 1


def test_a_trial_that_cannot_be_written_does_not_begin(daemon):
    (daemon.state / "trial.json").mkdir()
    assert not daemon.try_(TRIED)
    assert (daemon.outcome, daemon.rules, daemon.trial) == ("refused", {"feed"}, None)
    assert "trial.json: is a directory" in daemon.result["lines"][0]


def test_a_trial_is_refused_if_the_running_config_is_not_in_the_history(daemon, monkeypatch):
    monkeypatch.setattr(daemon.state_directory, "add", lambda made: None)
    daemon.reload(OTHER)
    monkeypatch.undo()
    assert not daemon.try_(TRIED)
    assert daemon.outcome == "refused"
    assert "could not be written to the history" in daemon.result["lines"][0]


def test_a_missing_entry_is_written_when_a_trial_needs_it(daemon, monkeypatch):
    monkeypatch.setattr(json_file, "write", read_only)
    daemon.reload(OTHER)
    assert not daemon.try_(OTHER)
    assert daemon.outcome == "refused"
    monkeypatch.undo()
    daemon.try_(OTHER)
    assert (daemon.outcome, read_entry(daemon.state, 2).hash) == ("unchanged", daemon.configuration.hash)
    daemon.reload(TRIED)
    daemon.restart(seconds=120)
    assert (daemon.rules, daemon.outcome) == ({"clock", "extra"}, "rolled_back")


def test_a_rollback_works_without_the_state_directory(daemon, caplog):
    daemon.try_(TRIED)
    for path in sorted(daemon.state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    daemon.state.rmdir()
    assert daemon.reload(OTHER)
    assert daemon.wait(120)
    assert (daemon.rules, daemon.outcome, daemon.trial) == ({"feed"}, "rolled_back", None)
    assert "after a restart, the rolled-back files will run" in caplog.text


def test_the_confirmed_entry_is_kept_for_any_number_of_reloads_in_a_trial(daemon):
    daemon.try_(TRIED)
    for port in range(1, MAX_ENTRIES + 5):
        daemon.reload(text(clock=port))
    assert entry_numbers(daemon.state)[0] == 1
    assert len(entry_numbers(daemon.state)) == MAX_ENTRIES + 1
    daemon.restart()
    daemon.wait(120)
    assert daemon.rules == {"feed"}
    assert len(entry_numbers(daemon.state)) == MAX_ENTRIES


def test_a_restart_writes_an_entry_only_if_the_files_changed(daemon):
    daemon.restart()
    daemon.restart(boot="the next boot")
    assert daemon.history() == [("started", "start", False)]
    daemon.file.write_text(OTHER)
    daemon.restart()
    assert daemon.history() == [("started", "start", False), ("started", "start", False)]
    assert not daemon.reload()
    assert daemon.try_(TRIED)
    assert len(daemon.history()) == 3


def test_an_entry_has_the_names_and_contents_of_all_files(daemon):
    folder = daemon.file.with_name("mcrelay.d")
    folder.mkdir()
    (folder / "extra.yaml").write_text("# Gr\u00fc\u00dfe\r\nrules:\n" + RULE.format("extra", 5009))
    assert daemon.reload()
    found = read_entry(daemon.state, 2)
    assert found.contents == (
        (str(daemon.file), CONFIRMED),
        (str(folder / "extra.yaml"), "# Gr\u00fc\u00dfe\r\nrules:\n" + RULE.format("extra", 5009)),
    )
    assert found.hash == daemon.configuration.hash
    assert found.changes["added"] == ["extra"]
