"""A file is replaced as a whole and durably, and nothing is left behind when that fails."""

import os
import stat
from pathlib import Path

import pytest

from mcrelay.storage import atomic, json_file

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def main(tmp_path):
    path = tmp_path / "mcrelay.yaml"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


WRITERS = {
    "a document": lambda path: json_file.write(path, {"version": 1}),
    "a configuration file": lambda path: atomic.write_atomically(path, b"new", like=path.parent),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_the_content_is_on_the_disk_before_the_name_and_the_name_at_the_end(tmp_path, monkeypatch, write):
    path, done = tmp_path / "file", []

    def fsync(descriptor):
        found = os.fstat(descriptor)
        done.append(("folder" if stat.S_ISDIR(found.st_mode) else found.st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(path)
    assert done == [(path.stat().st_size, False), ("folder", True)]
    assert path.stat().st_size > 0


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_the_draft_of_a_process_that_was_killed_is_replaced(tmp_path, write):
    (tmp_path / f".file.{os.getpid()}").write_text("{")
    write(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_full_disk_leaves_the_file_as_it_was_and_no_draft(main, monkeypatch, write):
    def fsync(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        write(main)
    assert (main.read_bytes(), os.listdir(main.parent)) == (b"old", [main.name])


def test_an_interrupted_writer_leaves_no_draft(main):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.replace(main, b"new", 0o600, interrupt)
    assert (main.read_bytes(), os.listdir(main.parent)) == (b"old", [main.name])


def test_a_configuration_file_keeps_its_mode_and_gets_its_old_content_back(main):
    undo = atomic.write_atomically(main, b"new", like=main)
    assert (main.read_bytes(), mode(main)) == (b"new", 0o640)
    undo()
    assert (main.read_bytes(), mode(main)) == (b"old", 0o640)


@needs_root
def test_a_configuration_file_keeps_its_owner(main):
    os.chown(main, 65534, 65534)
    atomic.write_atomically(main, b"new", like=Path("/"))
    assert (main.stat().st_uid, main.stat().st_gid) == (65534, 65534)


def test_a_new_file_in_a_new_folder_is_for_those_who_can_read_the_main_file(main):
    drop_in = main.parent / "mcrelay.d" / "camera.yaml"
    undo = atomic.write_atomically(drop_in, b"new", like=main)
    assert (drop_in.read_bytes(), mode(drop_in), mode(drop_in.parent)) == (b"new", 0o640, 0o750)
    undo()
    assert os.listdir(main.parent) == [main.name]


def test_a_new_folder_stays_if_another_process_has_put_a_file_there(main):
    drop_in = main.parent / "mcrelay.d" / "camera.yaml"
    undo = atomic.write_atomically(drop_in, b"new", like=main)
    drop_in.with_name("other.yaml").touch()
    undo()
    assert os.listdir(drop_in.parent) == ["other.yaml"]


def test_a_removed_file_comes_back_with_its_content_and_mode(main):
    undo = atomic.write_atomically(main, None, like=main)
    assert not main.exists()
    undo()
    assert (main.read_bytes(), mode(main)) == (b"old", 0o640)


def test_what_a_link_names_is_written_and_a_removed_link_comes_back_as_a_link(main):
    link = main.with_name("link.yaml")
    link.symlink_to(main.name)
    atomic.write_atomically(link, b"new", like=main)
    assert (os.readlink(link), main.read_bytes()) == (main.name, b"new")
    undo = atomic.write_atomically(link, None, like=main)
    assert not link.is_symlink()
    undo()
    assert (os.readlink(link), main.read_bytes()) == (main.name, b"new")
