"""Documents are read as they were written; anything else is an error."""

import os
import socket

import pytest

from mcrelay.storage import json_file
from mcrelay.storage.json_file import JsonFileError

DOCUMENT = {"version": 1, "names": ["Gr\u00fc\u00dfe", "\ud800"]}


def test_a_document_is_read_as_it_was_written(tmp_path):
    json_file.write(tmp_path / "a.json", DOCUMENT)
    json_file.write(tmp_path / "a.json", {"version": 2})
    json_file.write(tmp_path / "b.json", DOCUMENT)
    assert json_file.read(tmp_path / "a.json", 100) == {"version": 2}
    assert json_file.read(tmp_path / "b.json", 100) == DOCUMENT
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.json"]
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_a_file_is_removed_from_the_disk_too(tmp_path, monkeypatch):
    path, done = tmp_path / "a.json", []
    json_file.write(path, DOCUMENT)
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: done.append(os.path.samestat(os.fstat(descriptor), tmp_path.stat()))
    )
    json_file.remove(path)
    assert (path.exists(), done) == (False, [True])


def test_an_absent_file_is_none_and_can_be_removed(tmp_path):
    assert json_file.read(tmp_path / "a.json", 100) is None
    json_file.remove(tmp_path / "a.json")


def test_a_draft_that_cannot_get_its_name_is_removed(tmp_path):
    (tmp_path / "a.json" / "folder").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        json_file.write(tmp_path / "a.json", DOCUMENT)
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 90_000, b'{"a": 1'])
def test_a_text_that_is_not_a_json_object_is_an_error(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(JsonFileError, match="not a JSON object"):
        json_file.read(tmp_path / "a.json", 100_000)


def test_a_file_that_is_too_large_is_an_error(tmp_path):
    json_file.write(tmp_path / "a.json", DOCUMENT)
    with pytest.raises(JsonFileError, match="larger than 7 bytes"):
        json_file.read(tmp_path / "a.json", 7)


def make_link(path):
    (path.parent / "target").write_text("{}")
    path.symlink_to("target")


def make_socket(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_link, make_socket])
def test_what_is_not_a_regular_file_is_an_error_and_blocks_nobody(tmp_path, make):
    make(tmp_path / "a.json")
    with pytest.raises(JsonFileError):
        json_file.read(tmp_path / "a.json", 100)
