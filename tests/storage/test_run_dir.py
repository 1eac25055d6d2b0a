"""A run directory belongs to one daemon at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcrelay.storage import run_dir, state_dir
from mcrelay.storage.run_dir import RunDirBusyError


@pytest.mark.parametrize(
    ("variable", "default", "usual"),
    [
        ("RUNTIME_DIRECTORY", run_dir.default, "/run/mcrelay"),
        ("STATE_DIRECTORY", state_dir.default, "/var/lib/mcrelay"),
    ],
)
def test_a_directory_is_the_first_that_systemd_made_or_the_usual_one(monkeypatch, variable, default, usual):
    monkeypatch.delenv(variable, raising=False)
    assert default() == Path(usual)
    monkeypatch.setenv(variable, "")
    assert default() == Path(usual)
    monkeypatch.setenv(variable, "/somewhere/one:/somewhere/two")
    assert default() == Path("/somewhere/one")


def test_the_directory_is_made_with_its_parents_and_the_lock_has_the_process_id(tmp_path):
    held = run_dir.lock(tmp_path / "run/mcrelay")
    assert (tmp_path / "run/mcrelay/lock").read_text() == f"{os.getpid()}\n"
    os.close(held)


def test_the_error_of_a_second_daemon_names_the_first_and_says_what_to_do(tmp_path):
    held = run_dir.lock(tmp_path)
    with pytest.raises(RunDirBusyError) as taken:
        run_dir.lock(tmp_path)
    for part in (str(tmp_path), f"process {os.getpid()}", "`mcrelay reload`", "--run-dir"):
        assert part in str(taken.value)
    os.close(held)


def test_a_holder_that_has_not_written_its_process_id_is_unknown(tmp_path):
    held = run_dir.lock(tmp_path)
    (tmp_path / "lock").write_text("")
    with pytest.raises(RunDirBusyError, match="process unknown"):
        run_dir.lock(tmp_path)
    os.close(held)


def test_the_lock_file_of_a_dead_daemon_is_used_again(tmp_path):
    code = f"import pathlib; from mcrelay.storage import run_dir; run_dir.lock(pathlib.{tmp_path!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    (tmp_path / "lock").write_text("123456789123456789\n")
    held = run_dir.lock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    os.close(held)


def test_children_do_not_inherit_the_lock(tmp_path):
    held = run_dir.lock(tmp_path)
    assert not os.get_inheritable(held)
    os.close(held)


def test_a_failed_lock_leaves_no_descriptor_open(tmp_path):
    held = run_dir.lock(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(RunDirBusyError):
            run_dir.lock(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(held)


@pytest.mark.parametrize("obstacle", ["", "lock"])
def test_the_error_of_an_unusable_directory_gives_the_reason(tmp_path, obstacle):
    directory = tmp_path / "run"
    if obstacle:
        (directory / obstacle).mkdir(parents=True)
    else:
        directory.write_text("a file")
    with pytest.raises(RunDirBusyError) as taken:
        run_dir.lock(directory)
    assert f"cannot use the run directory {directory}: " in str(taken.value)
