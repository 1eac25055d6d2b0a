"""The history keeps ten entries, the next daemon finds the trial, and garbage is ignored."""

import logging
import os

import pytest

from mcrelay.reload.history import Entry
from mcrelay.reload.trial import BootTime, RolledBackContent, Trial
from mcrelay.storage import state_dir as module
from mcrelay.storage.state_dir import (
    MAX_ENTRIES,
    StateDirectory,
    StateDirectoryError,
    entry_numbers,
    read_entry,
)

TRIAL = Trial("/etc/mcrelay.yaml", "tried", BootTime("this boot", 7.0, 8.0), 3, "confirmed")


def make_entry(number):
    return Entry(number, number + 100, 1.5, f"hash {number}", "applied", "hangup", contents=(("a", "b"),))


@pytest.fixture
def state(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    state = StateDirectory(tmp_path / "far" / "state")
    state.open()
    return state


def open_directory(directory):
    state = StateDirectory(directory)
    state.open()
    return state


def test_the_directory_is_made_and_closed_to_other_users(state):
    assert (state.directory / "history").is_dir()
    assert state.directory.stat().st_mode & 0o777 == 0o750
    assert (state.directory / "history").stat().st_mode & 0o777 == 0o750


def test_entries_are_numbered_and_can_be_read_without_the_lock(state):
    assert state.latest() is None
    assert [state.add(make_entry) for _ in range(3)] == [1, 2, 3]
    assert entry_numbers(state.directory) == [1, 2, 3]
    assert read_entry(state.directory, 2) == state.entry(2) == make_entry(2)
    assert state.latest() == make_entry(3)


def test_ten_entries_are_kept_besides_the_one_that_is_needed(state):
    for _ in range(MAX_ENTRIES + 5):
        state.add(make_entry)
        state.prune(needed=2)
    assert entry_numbers(state.directory) == [2, *range(6, 16)]
    state.prune(needed=None)
    assert entry_numbers(state.directory) == list(range(6, 16))


def test_the_next_daemon_continues_the_numbers(state):
    state.add(make_entry)
    os.close(state._lock)
    assert open_directory(state.directory).add(make_entry) == 2


def test_numbers_beyond_six_digits_still_increase(state):
    (state.directory / "history" / "999999.json").write_text("{}")
    assert state.add(make_entry) == 1_000_000
    assert state.add(make_entry) == 1_000_001
    assert state.latest().number == 1_000_001


def test_the_trial_and_the_rolled_back_content_are_read_as_written(state):
    assert (state.trial(), state.rolled_back()) == (None, None)
    state.write_trial(TRIAL)
    state.write_rolled_back(RolledBackContent("tried", 4))
    assert (state.trial(), state.rolled_back()) == (TRIAL, RolledBackContent("tried", 4))
    state.remove_trial()
    state.remove_rolled_back()
    assert (state.trial(), state.rolled_back()) == (None, None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 2}', "\0" * 1000])
def test_garbage_in_the_directory_is_ignored(state, text, caplog):
    for name in (
        "trial.json",
        "refused.json",
        "history/000007.json",
        "history/x.json",
        "history/0000012.json",
    ):
        (state.directory / name).write_text(text)
    assert (state.trial(), state.rolled_back(), state.latest()) == (None, None, None)
    assert f"{state.directory}/trial.json is ignored" in caplog.text
    with pytest.raises(StateDirectoryError, match=r"history/000007\.json: it is not"):
        state.entry(7)
    assert state.add(make_entry) == 8
    assert state.latest() == make_entry(8)
    state.write_trial(TRIAL)
    assert state.trial() == TRIAL


def test_an_entry_with_another_number_than_its_name_is_an_error(state):
    state.add(make_entry)
    os.rename(state.directory / "history/000001.json", state.directory / "history/000005.json")
    with pytest.raises(StateDirectoryError, match="it is not an entry"):
        state.entry(5)
    with pytest.raises(StateDirectoryError, match="there is no such entry"):
        state.entry(1)


def test_folders_in_the_place_of_files_are_errors_with_a_reason(state, caplog):
    for name in ("trial.json", "refused.json"):
        (state.directory / name / "more").mkdir(parents=True)
    assert (state.trial(), state.rolled_back()) == (None, None)
    with pytest.raises(StateDirectoryError, match=r"trial\.json: is a directory"):
        state.write_trial(TRIAL)
    with pytest.raises(StateDirectoryError, match=r"trial\.json: is a directory"):
        state.remove_trial()
    state.remove_rolled_back()
    assert "refused.json: is a directory" in caplog.text
    assert state.add(make_entry) == 1


def test_a_second_daemon_cannot_use_the_directory(state, caplog):
    state.add(make_entry)
    state.write_trial(TRIAL)
    second = open_directory(state.directory)
    assert "choose another --state-dir" in caplog.text
    assert (second.latest(), second.trial(), second.rolled_back()) == (None, None, None)
    assert second.add(make_entry) is None
    second.prune(None)
    second.remove_trial()
    with pytest.raises(StateDirectoryError, match="another --state-dir"):
        second.write_trial(TRIAL)
    assert (state.trial(), state.latest()) == (TRIAL, make_entry(1))
    assert caplog.text.count("history and trials are disabled") == 1


def test_a_directory_that_cannot_be_made_is_logged_once(tmp_path, caplog):
    (tmp_path / "file").touch()
    state = open_directory(tmp_path / "file" / "state")
    assert state.add(make_entry) is state.add(make_entry) is None
    with pytest.raises(StateDirectoryError, match="not a directory"):
        state.check_usable()
    assert caplog.text.count("history and trials are disabled") == 1


def test_a_full_disk_is_logged_once_and_used_again_when_there_is_space(state, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.json_file, "write", full)
    assert state.add(make_entry) is state.add(make_entry) is None
    assert caplog.text.count("no space left on device") == 1
    monkeypatch.undo()
    assert state.add(make_entry) == 1


def test_a_folder_that_vanishes_is_logged(state, caplog):
    os.rmdir(state.directory / "history")
    assert state.add(make_entry) is None
    assert state.latest() is None
    state.prune(None)
    assert "no such file or directory" in caplog.text
    with pytest.raises(StateDirectoryError, match="no such file or directory"):
        entry_numbers(state.directory)


def test_a_directory_that_becomes_usable_is_used(tmp_path):
    (tmp_path / "file").touch()
    state = open_directory(tmp_path / "file")
    assert state.problem == f"{tmp_path}/file: file exists"
    (tmp_path / "file").unlink()
    assert state.add(make_entry) == 1
    assert state.problem == ""
