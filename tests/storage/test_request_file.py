"""A request is taken once, from those who may ask, and nothing that lies in its place stops a reload."""

import logging
import os
import time

import pytest

from mcrelay.reload.requests import Confirm, RequestError, Try
from mcrelay.storage import request_file
from mcrelay.storage.request_file import MAX_AGE_S, NAME, RequestPendingError, consume, write

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level(logging.WARNING)


def test_a_request_is_taken_once(tmp_path):
    assert consume(tmp_path) is None
    for request in (Try(120), Confirm(7)):
        write(tmp_path, request, os.geteuid())
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
        assert consume(tmp_path) == request
        assert consume(tmp_path) is None
        assert os.listdir(tmp_path) == []


def test_a_pending_request_is_not_overwritten(tmp_path):
    write(tmp_path, Try(120), os.geteuid())
    with pytest.raises(RequestPendingError, match="try again in a moment"):
        write(tmp_path, Confirm(7), os.geteuid())
    assert consume(tmp_path) == Try(120)


def test_a_request_that_is_too_old_is_replaced(tmp_path):
    write(tmp_path, Try(120), os.geteuid())
    os.utime(tmp_path / NAME, (0, time.time() - MAX_AGE_S - 1))
    write(tmp_path, Confirm(7), os.geteuid())
    assert consume(tmp_path) == Confirm(7)


def test_a_request_that_is_too_old_is_refused(tmp_path):
    write(tmp_path, Try(120), os.geteuid())
    os.utime(tmp_path / NAME, (0, time.time() - MAX_AGE_S - 1))
    with pytest.raises(RequestError, match="older than 60 s"):
        consume(tmp_path)
    assert os.listdir(tmp_path) == []


@needs_root
def test_a_request_of_root_belongs_to_the_user_of_the_daemon(tmp_path, monkeypatch):
    write(tmp_path, Try(120), NOBODY)
    assert (tmp_path / NAME).stat().st_uid == NOBODY
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert consume(tmp_path) == Try(120)


@needs_root
def test_a_request_of_another_user_is_refused(tmp_path):
    write(tmp_path, Try(120), NOBODY)
    with pytest.raises(RequestError, match=f"belongs to user {NOBODY}, who is not permitted"):
        consume(tmp_path)
    assert os.listdir(tmp_path) == []


def make_link(path):
    (path.parent.parent / "secret").write_text('{"verb": "try", "timeout": 5}')
    path.symlink_to("../secret")


@pytest.mark.parametrize("make", [os.mkfifo, make_link])
def test_a_pipe_or_link_in_the_place_of_a_request_is_refused_and_removed(tmp_path, make):
    (tmp_path / "run").mkdir()
    make(tmp_path / "run" / NAME)
    with pytest.raises(RequestError, match=r"regular file|symbolic link"):
        consume(tmp_path / "run")
    assert os.listdir(tmp_path / "run") == []


def test_a_folder_in_the_place_of_a_request_is_refused(tmp_path, caplog):
    (tmp_path / NAME / "folder").mkdir(parents=True)
    with pytest.raises(RequestError):
        consume(tmp_path)
    assert "cannot remove" in caplog.text


@pytest.mark.parametrize(
    ("text", "why"), [(b"{", "not JSON"), (b"{}", "not a `try`"), (b" " * 5000, "larger than 4096")]
)
def test_an_invalid_request_is_an_error_and_removed(tmp_path, text, why):
    (tmp_path / NAME).write_bytes(text)
    with pytest.raises(RequestError, match=why):
        consume(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        request_file.write(tmp_path / "absent", Try(120), os.geteuid())
