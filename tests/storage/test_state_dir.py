"""The history keeps ten entries, what a successor needs is found again, and garbage harms nobody."""

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


def made(number):
    return Entry(number, number + 100, 1.5, f"hash {number}", "applied", "hangup", contents=(("a", "b"),))


@pytest.fixture
def archive(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    archive = StateDirectory(tmp_path / "far" / "state")
    archive.open()
    return archive


def opened(directory):
    archive = StateDirectory(directory)
    archive.open()
    return archive


def test_the_directory_is_made_and_others_cannot_look_into_it(archive):
    assert (archive.directory / "history").is_dir()
    assert archive.directory.stat().st_mode & 0o777 == 0o750
    assert (archive.directory / "history").stat().st_mode & 0o777 == 0o750


def test_entries_are_numbered_and_read_again_by_anyone(archive):
    assert archive.latest() is None
    assert [archive.add(made) for _ in range(3)] == [1, 2, 3]
    assert entry_numbers(archive.directory) == [1, 2, 3]
    assert read_entry(archive.directory, 2) == archive.entry(2) == made(2)
    assert archive.latest() == made(3)


def test_ten_entries_are_kept_and_one_that_is_needed(archive):
    for _ in range(MAX_ENTRIES + 5):
        archive.add(made)
        archive.prune(needed=2)
    assert entry_numbers(archive.directory) == [2, *range(6, 16)]
    archive.prune(needed=None)
    assert entry_numbers(archive.directory) == list(range(6, 16))


def test_a_successor_goes_on_counting(archive):
    archive.add(made)
    os.close(archive._lock)
    assert opened(archive.directory).add(made) == 2


def test_a_million_entries_later_the_numbers_still_go_up(archive):
    (archive.directory / "history" / "999999.json").write_text("{}")
    assert archive.add(made) == 1_000_000
    assert archive.add(made) == 1_000_001
    assert archive.latest().number == 1_000_001


def test_a_successor_finds_the_trial_and_what_was_rolled_back(archive):
    assert (archive.trial(), archive.rolled_back()) == (None, None)
    archive.keep_trial(TRIAL)
    archive.keep_rolled_back(RolledBackContent("tried", 4))
    assert (archive.trial(), archive.rolled_back()) == (TRIAL, RolledBackContent("tried", 4))
    archive.forget_trial()
    archive.forget_rolled_back()
    assert (archive.trial(), archive.rolled_back()) == (None, None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 2}', "\0" * 1000])
def test_a_directory_full_of_garbage_holds_nothing_and_can_be_used(archive, text, caplog):
    for name in (
        "trial.json",
        "refused.json",
        "history/000007.json",
        "history/x.json",
        "history/0000012.json",
    ):
        (archive.directory / name).write_text(text)
    assert (archive.trial(), archive.rolled_back(), archive.latest()) == (None, None, None)
    assert f"{archive.directory}/trial.json is ignored" in caplog.text
    with pytest.raises(StateDirectoryError, match=r"history/000007\.json: it is not"):
        archive.entry(7)
    assert archive.add(made) == 8
    assert archive.latest() == made(8)
    archive.keep_trial(TRIAL)
    assert archive.trial() == TRIAL


def test_an_entry_under_another_number_is_none(archive):
    archive.add(made)
    os.rename(archive.directory / "history/000001.json", archive.directory / "history/000005.json")
    with pytest.raises(StateDirectoryError, match="it is not an entry"):
        archive.entry(5)
    with pytest.raises(StateDirectoryError, match="there is no such entry"):
        archive.entry(1)


def test_folders_in_the_place_of_files_are_told_and_survived(archive, caplog):
    for name in ("trial.json", "refused.json"):
        (archive.directory / name / "more").mkdir(parents=True)
    assert (archive.trial(), archive.rolled_back()) == (None, None)
    with pytest.raises(StateDirectoryError, match=r"trial\.json: is a directory"):
        archive.keep_trial(TRIAL)
    with pytest.raises(StateDirectoryError, match=r"trial\.json: is a directory"):
        archive.forget_trial()
    archive.forget_rolled_back()
    assert "refused.json: is a directory" in caplog.text
    assert archive.add(made) == 1


def test_two_daemons_have_not_one_directory(archive, caplog):
    archive.add(made)
    archive.keep_trial(TRIAL)
    second = opened(archive.directory)
    assert "belongs to another mcrelay that runs; give this one another --state-dir" in caplog.text
    assert (second.latest(), second.trial(), second.rolled_back()) == (None, None, None)
    assert second.add(made) is None
    second.prune(None)
    second.forget_trial()
    with pytest.raises(StateDirectoryError, match="another --state-dir"):
        second.keep_trial(TRIAL)
    assert (archive.trial(), archive.latest()) == (TRIAL, made(1))
    assert caplog.text.count("without history and trials") == 1


def test_a_directory_that_cannot_be_made_is_told_once(tmp_path, caplog):
    (tmp_path / "file").touch()
    archive = opened(tmp_path / "file" / "state")
    assert archive.add(made) is archive.add(made) is None
    with pytest.raises(StateDirectoryError, match="not a directory"):
        archive.check_usable()
    assert caplog.text.count("without history and trials") == 1


def test_a_full_disk_is_told_once_and_used_again_when_there_is_room(archive, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.json_file, "write", full)
    assert archive.add(made) is archive.add(made) is None
    assert caplog.text.count("no space left on device") == 1
    monkeypatch.undo()
    assert archive.add(made) == 1


def test_a_folder_that_vanishes_is_told_and_no_end(archive, caplog):
    os.rmdir(archive.directory / "history")
    assert archive.add(made) is None
    assert archive.latest() is None
    archive.prune(None)
    assert "no such file or directory" in caplog.text
    with pytest.raises(StateDirectoryError, match="no such file or directory"):
        entry_numbers(archive.directory)
