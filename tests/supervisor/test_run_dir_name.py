"""A run directory has one daemon, also after it was removed and made again, whoever takes its name."""

import os
import shutil

import pytest

from mcrelay.linux.unix_names import Credentials
from mcrelay.storage.run_dir import RunDirBusyError
from mcrelay.supervisor import run_dir_name
from mcrelay.supervisor.run_dir_name import BACKLOG, NAMES, RunDirName


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "run"
    made.mkdir()
    return made


@pytest.fixture
def hold(directory):
    """Hold names of the directory until the end of the test."""
    held = []

    def taken(path=directory):
        held.append(RunDirName(path))
        return held[-1]

    yield taken
    for name in held:
        if name._listener:
            name._listener.close()


def test_a_directory_that_was_made_again_belongs_to_the_daemon_that_still_runs(directory, hold):
    hold()
    shutil.rmtree(directory)
    directory.mkdir()
    with pytest.raises(
        RunDirBusyError, match=rf"^mcrelay is already running in {directory} \(process {os.getpid()}\)"
    ):
        hold()


def test_every_path_to_the_directory_is_the_same(directory, hold, tmp_path):
    (tmp_path / "link").symlink_to(directory)
    hold()
    with pytest.raises(RunDirBusyError):
        hold(tmp_path / "link")


def test_a_name_ends_with_its_daemon(hold):
    hold()._listener.close()
    hold()


def test_another_directory_is_free(hold, tmp_path):
    hold()
    hold(tmp_path)


def test_a_stranger_who_takes_the_names_keeps_no_daemon_from_its_start(hold, monkeypatch, caplog):
    hold()
    monkeypatch.setattr(run_dir_name, "_find_holder", lambda name: Credentials(4711, os.geteuid() + 1))
    hold()
    assert (
        caplog.messages.count(f"process 4711 of user {os.geteuid() + 1} holds a name of mcrelay; ignored")
        == NAMES - 1  # one is free
    )


def test_a_daemon_finds_one_that_had_to_take_another_name(hold, monkeypatch):
    stranger = hold()
    with monkeypatch.context() as taken:
        taken.setattr(run_dir_name, "_is_trusted", lambda holder: False)
        hold()
    stranger._listener.close()
    with pytest.raises(RunDirBusyError):
        hold()


def test_without_a_free_name_a_daemon_starts_without(hold, monkeypatch):
    monkeypatch.setattr(run_dir_name, "_is_trusted", lambda holder: False)
    names = [hold() for _ in range(NAMES + 1)]
    assert names[-1]._listener is None
    names[-1].discard_connections()


def test_the_same_path_in_another_container_is_another_directory(hold, monkeypatch):
    hold()
    for pid in (0, 1 << 30):
        monkeypatch.setattr(run_dir_name, "_find_holder", lambda name, pid=pid: Credentials(pid, 0))
        hold()


def test_a_holder_that_cannot_be_looked_at_counts(hold, monkeypatch):
    hold()

    def refuse(path):
        raise PermissionError

    monkeypatch.setattr(run_dir_name.os, "stat", refuse)
    with pytest.raises(RunDirBusyError):
        hold()


def test_starts_that_were_refused_leave_nothing_behind(hold):
    held = hold()
    for _ in range(3 * BACKLOG):
        with pytest.raises(RunDirBusyError):
            hold()
        held.discard_connections()
