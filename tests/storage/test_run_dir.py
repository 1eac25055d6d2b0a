"""A run directory belongs to one daemon at a time."""

import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcrelay.storage import run_dir
from mcrelay.storage.run_dir import RunDirBusyError


def test_the_directory_is_the_one_that_systemd_made_else_the_usual_one(monkeypatch):
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert run_dir.default() == Path("/run/mcrelay")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "")
    assert run_dir.default() == Path("/run/mcrelay")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one:/run/two")
    assert run_dir.default() == Path("/run/one")


def test_it_is_made_with_its_parents_and_says_who_has_it(tmp_path):
    held = run_dir.lock(tmp_path / "run/mcrelay")
    assert (tmp_path / "run/mcrelay/lock").read_text() == f"{os.getpid()}\n"
    os.close(held)


def test_a_second_daemon_is_told_who_has_it_and_what_to_do(tmp_path):
    held = run_dir.lock(tmp_path)
    with pytest.raises(RunDirBusyError) as taken:
        run_dir.lock(tmp_path)
    for part in (str(tmp_path), f"process {os.getpid()}", "`mcrelay reload`", "--run-dir"):
        assert part in str(taken.value)
    os.close(held)


def test_a_holder_that_has_not_said_its_name_yet_is_unknown(tmp_path):
    held = run_dir.lock(tmp_path)
    (tmp_path / "lock").write_text("")
    with pytest.raises(RunDirBusyError, match="process unknown"):
        run_dir.lock(tmp_path)
    os.close(held)


def test_what_a_dead_daemon_left_is_no_hindrance(tmp_path):
    code = f"import pathlib; from mcrelay.storage import run_dir; run_dir.lock(pathlib.{tmp_path!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    (tmp_path / "lock").write_text("123456789123456789\n")
    held = run_dir.lock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    os.close(held)


def test_the_lock_does_not_pass_to_children(tmp_path):
    held = run_dir.lock(tmp_path)
    assert not os.get_inheritable(held)
    os.close(held)


def test_refusals_leave_no_descriptor(tmp_path):
    held = run_dir.lock(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(RunDirBusyError):
            run_dir.lock(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(held)


@pytest.mark.parametrize("obstacle", ["", "lock"])
def test_a_directory_that_cannot_be_used_is_named_with_the_reason(tmp_path, obstacle):
    directory = tmp_path / "run"
    if obstacle:
        (directory / obstacle).mkdir(parents=True)
    else:
        directory.write_text("a file")
    with pytest.raises(RunDirBusyError) as taken:
        run_dir.lock(directory)
    assert f"cannot use the run directory {directory}: " in str(taken.value)


# The control socket.


@contextmanager
def listening(directory, group=None):
    """Listen with the lock of the directory."""
    held = run_dir.lock(directory)
    try:
        with run_dir.listening(directory, group, held) as door:
            yield door
    finally:
        os.close(held)


def clients_may_come(door):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(door.path))
        accepted, _ = door.listener.accept()
        accepted.close()
    return True


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_socket_is_for_owner_and_group_and_is_gone_at_the_end(tmp_path):
    with listening(tmp_path) as door:
        path = tmp_path / "control.sock"
        assert mode(path) == 0o660
        assert path.stat().st_gid == os.getegid()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            accepted, _ = door.listener.accept()
            accepted.close()
    assert not path.exists()


def test_what_a_dead_daemon_left_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control.sock"))
    with listening(tmp_path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "control.sock"))


def test_the_mask_of_whoever_starts_the_daemon_is_left_as_it_was(tmp_path):
    before = os.umask(0o027)
    try:
        with listening(tmp_path):
            assert mode(tmp_path / "control.sock") == 0o660
            assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another group: needs root")
def test_the_socket_belongs_to_the_group_of_clients(tmp_path):
    with listening(tmp_path, 12345):
        assert (tmp_path / "control.sock").stat().st_gid == 12345
        assert os.getegid() == 0


def test_a_directory_deeper_than_the_name_of_a_socket_may_be_long_is_no_obstacle(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with listening(deep):
        assert stat.S_ISSOCK((deep / "control.sock").stat().st_mode)


def test_a_place_that_is_taken_by_something_else_is_said(tmp_path):
    (tmp_path / "control.sock").mkdir()
    with pytest.raises(RunDirBusyError, match=r"cannot listen on .*control\.sock: "), listening(tmp_path):
        pytest.fail("it does not listen")


# What somebody removes while the daemon runs.


def test_a_socket_that_is_in_its_place_stays(tmp_path):
    with listening(tmp_path) as door:
        before = door.path.stat().st_ino
        assert not door.reopened()
        assert door.path.stat().st_ino == before


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another group: needs root")
def test_a_socket_that_was_removed_is_there_again_for_the_same_clients(tmp_path, caplog):
    with listening(tmp_path, 12345) as door:
        descriptor = door.fileno()
        door.path.unlink()
        assert door.reopened()
        assert door.fileno() == descriptor
        assert not os.get_inheritable(descriptor)
        assert not os.get_blocking(descriptor)
        assert (mode(door.path), door.path.stat().st_gid) == (0o660, 12345)
        assert clients_may_come(door)
        assert not door.reopened()
    assert not door.path.exists()
    assert f"somebody removed {door.path}; it is there again" in caplog.text


def test_another_file_in_its_place_is_replaced(tmp_path):
    with listening(tmp_path) as door:
        door.path.unlink()
        door.path.write_text("somebody's")
        assert door.reopened()
        assert clients_may_come(door)


def test_a_directory_that_was_removed_is_there_again_with_its_lock(tmp_path):
    with listening(tmp_path / "run") as door:
        shutil.rmtree(tmp_path / "run")
        assert door.reopened()
        assert clients_may_come(door)
        with pytest.raises(RunDirBusyError, match=f"process {os.getpid()}"):
            run_dir.lock(tmp_path / "run")
    os.close(run_dir.lock(tmp_path / "run"))


def test_a_directory_that_another_daemon_has_by_now_is_left_to_it(tmp_path, caplog):
    with listening(tmp_path / "run") as door:
        shutil.rmtree(tmp_path / "run")
        with listening(tmp_path / "run") as other:
            for _ in range(3):
                assert not door.reopened()
            door.close()
            assert clients_may_come(other)
    assert caplog.text.count("cannot be made again: mcrelay runs already with") == 1


def test_a_socket_that_cannot_be_made_again_is_told_once_and_tried_again(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with listening(tmp_path / "run") as door:
        before = len(os.listdir("/proc/self/fd"))
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("a file")
        for _ in range(3):
            assert not door.reopened()
        assert len(caplog.messages) == 1
        assert "cannot use the run directory" in caplog.text
        assert len(os.listdir("/proc/self/fd")) == before
        (tmp_path / "run").unlink()
        assert door.reopened()
        assert clients_may_come(door)


def test_the_end_leaves_a_socket_that_is_somebody_elses(tmp_path):
    with socket.socket(socket.AF_UNIX) as other, listening(tmp_path) as door:
        door.path.unlink()
        other.bind(str(door.path))
    assert door.path.is_socket()
