"""Files of JSON are there whole or not at all, and what lies in their place harms nobody."""

import os
import socket
import stat

import pytest

from mcrelay.storage import json_file
from mcrelay.storage.json_file import JsonFileError

DOCUMENT = {"version": 1, "names": ["Gr\u00fc\u00dfe", "\ud800"]}


def test_what_is_written_is_read_again(tmp_path):
    json_file.write(tmp_path / "a.json", DOCUMENT)
    json_file.write(tmp_path / "a.json", {"version": 2})
    json_file.write(tmp_path / "b.json", DOCUMENT)
    assert json_file.read(tmp_path / "a.json", 100) == {"version": 2}
    assert json_file.read(tmp_path / "b.json", 100) == DOCUMENT
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.json"]
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_what_a_name_leads_to_is_on_the_disk_before_the_name_is_and_then_the_name(tmp_path, monkeypatch):
    path, done = tmp_path / "a.json", []

    def fsync(descriptor):
        synced = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size
        done.append((synced, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    json_file.write(path, DOCUMENT)
    assert done == [(path.stat().st_size, False), ("folder", True)]
    json_file.remove(path)
    assert done[2:] == [("folder", False)]


def test_what_is_not_there_is_none_and_can_be_removed(tmp_path):
    assert json_file.read(tmp_path / "a.json", 100) is None
    json_file.remove(tmp_path / "a.json")


def test_the_draft_of_a_process_that_was_killed_is_in_nobodys_way(tmp_path):
    (tmp_path / f".a.json.{os.getpid()}").write_text("{")
    json_file.write(tmp_path / "a.json", DOCUMENT)
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_cannot_be_put_in_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.json" / "folder").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        json_file.write(tmp_path / "a.json", DOCUMENT)
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 90_000, b'{"a": 1'])
def test_what_is_no_json_object_is_unreadable(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(JsonFileError, match="no JSON object"):
        json_file.read(tmp_path / "a.json", 100_000)


def test_what_is_too_large_is_unreadable(tmp_path):
    json_file.write(tmp_path / "a.json", DOCUMENT)
    with pytest.raises(JsonFileError, match="larger than 7 octets"):
        json_file.read(tmp_path / "a.json", 7)


def make_link(path):
    (path.parent / "target").write_text("{}")
    path.symlink_to("target")


def make_socket(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_link, make_socket])
def test_what_is_no_file_is_unreadable_and_waits_for_nobody(tmp_path, make):
    make(tmp_path / "a.json")
    with pytest.raises(JsonFileError):
        json_file.read(tmp_path / "a.json", 100)
