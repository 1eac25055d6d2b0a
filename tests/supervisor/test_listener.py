"""The control socket is in the run directory while the daemon runs, and is created again if it is removed."""

import logging
import os
import shutil
import socket
import stat
from contextlib import contextmanager

import pytest

from mcrelay.storage import run_dir
from mcrelay.storage.run_dir import RunDirBusyError
from mcrelay.supervisor.listener import listen


@contextmanager
def listening(directory, group=None):
    """Listen with the lock of the directory."""
    held = run_dir.lock(directory)
    try:
        with listen(directory, group, held) as listener:
            yield listener
    finally:
        os.close(held)


def accepts_clients(listener):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(listener.path))
        accepted, _ = listener.listener.accept()
        accepted.close()
    return True


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_owner_and_group_may_connect_and_the_socket_is_removed_at_the_end(tmp_path):
    with listening(tmp_path) as listener:
        path = tmp_path / "control.sock"
        assert mode(path) == 0o660
        assert path.stat().st_gid == os.getegid()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            accepted, _ = listener.listener.accept()
            accepted.close()
    assert not path.exists()


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "control.sock"))
    with listening(tmp_path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "control.sock"))


def test_the_umask_of_the_process_does_not_matter_and_is_restored(tmp_path):
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


def test_the_path_of_the_directory_may_be_longer_than_a_socket_address(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with listening(deep):
        assert stat.S_ISSOCK((deep / "control.sock").stat().st_mode)


def test_a_directory_in_place_of_the_socket_is_an_error(tmp_path):
    (tmp_path / "control.sock").mkdir()
    with pytest.raises(RunDirBusyError, match=r"cannot listen on .*control\.sock: "), listening(tmp_path):
        pytest.fail("it does not listen")


# Removal while the daemon runs.


def test_a_socket_that_was_not_removed_stays(tmp_path):
    with listening(tmp_path) as listener:
        before = listener.path.stat().st_ino
        assert not listener.reopen_if_removed()
        assert listener.path.stat().st_ino == before


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another group: needs root")
def test_a_removed_socket_is_created_again_with_the_same_permissions(tmp_path, caplog):
    with listening(tmp_path, 12345) as listener:
        descriptor = listener.fileno()
        listener.path.unlink()
        assert listener.reopen_if_removed()
        assert listener.fileno() == descriptor
        assert not os.get_inheritable(descriptor)
        assert not os.get_blocking(descriptor)
        assert (mode(listener.path), listener.path.stat().st_gid) == (0o660, 12345)
        assert accepts_clients(listener)
        assert not listener.reopen_if_removed()
    assert not listener.path.exists()
    assert f"{listener.path} was removed; mcrelay has created it again" in caplog.text


def test_another_file_in_place_of_the_socket_is_replaced(tmp_path):
    with listening(tmp_path) as listener:
        listener.path.unlink()
        listener.path.write_text("of another process")
        assert listener.reopen_if_removed()
        assert accepts_clients(listener)


def test_a_removed_directory_is_created_again_with_its_lock(tmp_path):
    with listening(tmp_path / "run") as listener:
        shutil.rmtree(tmp_path / "run")
        assert listener.reopen_if_removed()
        assert accepts_clients(listener)
        with pytest.raises(RunDirBusyError, match=f"process {os.getpid()}"):
            run_dir.lock(tmp_path / "run")
    os.close(run_dir.lock(tmp_path / "run"))


def test_a_directory_that_another_daemon_has_locked_is_left_to_it(tmp_path, caplog):
    with listening(tmp_path / "run") as listener:
        shutil.rmtree(tmp_path / "run")
        with listening(tmp_path / "run") as other:
            for _ in range(3):
                assert not listener.reopen_if_removed()
            listener.close()
            assert accepts_clients(other)
    assert caplog.text.count("cannot be created again: mcrelay is already running in") == 1


def test_a_socket_that_cannot_be_created_again_causes_one_warning_and_is_retried(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    with listening(tmp_path / "run") as listener:
        before = len(os.listdir("/proc/self/fd"))
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("a file")
        for _ in range(3):
            assert not listener.reopen_if_removed()
        assert len(caplog.messages) == 1
        assert "cannot use the run directory" in caplog.text
        assert len(os.listdir("/proc/self/fd")) == before
        (tmp_path / "run").unlink()
        assert listener.reopen_if_removed()
        assert accepts_clients(listener)


def test_a_socket_of_another_process_is_not_removed_at_the_end(tmp_path):
    with socket.socket(socket.AF_UNIX) as other, listening(tmp_path) as listener:
        listener.path.unlink()
        other.bind(str(listener.path))
    assert listener.path.is_socket()
