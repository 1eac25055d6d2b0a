"""The configuration files: which are read, in which order, and which are refused."""

import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mcrelay.config.problems import ConfigError
from mcrelay.storage.config_files import (
    MAX_TOTAL_BYTES,
    compile_contents,
    digest,
    read,
    read_stamps,
    read_with,
)

MAIN = b"version: 1\ninterfaces:\n  studio: {device: eth0}\n  plant: {device: eth1}\n"
RULE = (
    b"rules: {%s: {input: {interface: studio, group: 239.1.1.1, port: %d}, outputs: [{interface: plant}]}}\n"
)


@pytest.fixture
def main(tmp_path):
    path = tmp_path / "mcrelay.yaml"
    path.write_bytes(MAIN)
    return path


@pytest.fixture
def folder(main):
    path = main.with_name("mcrelay.d")
    path.mkdir()
    return path


def load(path):
    contents = read(path)
    return compile_contents(contents), digest(contents)


def refused(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_file_is_read_with_its_drop_ins_in_lexical_order(main, folder):
    for name in ("20-b.yaml", "10-a.yaml", "9-c.yaml", ".hidden.yaml", "notes.txt", "old.yaml.bak"):
        (folder / name).write_bytes(name.encode())
    assert [Path(name).name for name, _ in read(main)] == [
        "mcrelay.yaml",
        "10-a.yaml",
        "20-b.yaml",
        "9-c.yaml",
    ]


def test_a_draft_is_read_in_place_of_the_file_that_it_replaces(main, folder):
    for name in ("a.yaml", "c.yaml"):
        (folder / name).write_bytes(name.encode())
    for place in (main, folder / "a.yaml", folder / "b.yaml"):
        expected = {**dict(read(main)), str(place): b"draft"}
        found = read_with(place, b"draft")
        assert dict(found) == expected
        assert [name for name, _ in found] == [
            str(main),
            *sorted(name for name in expected if name != str(main)),
        ]
    assert read_with(main.with_name("new.yaml"), b"draft") == [(str(main.with_name("new.yaml")), b"draft")]


@pytest.mark.parametrize("name", ["notes.txt", ".hidden.yaml", "a.yml"])
def test_a_draft_for_a_place_that_would_not_be_read_is_refused(folder, name):
    with pytest.raises(ConfigError, match=r"the name of a drop-in ends in `\.yaml` and does not"):
        read_with(folder / name, b"")


def test_a_config_comes_with_the_hash_of_all_its_files(main, folder):
    (folder / "a.yaml").write_bytes(RULE % (b"a", 1))
    config, first = load(main)
    assert list(config.rules) == ["a"]
    assert load(str(main)) == (config, first)
    (folder / "a.yaml").write_bytes(RULE % (b"a", 2))
    assert load(main)[1] != first


def test_the_same_bytes_in_other_files_have_another_hash():
    assert digest([("a", b"xy"), ("b", b"")]) != digest([("a", b"x"), ("b", b"y")])
    assert digest([("a", b"")]) != digest([("b", b"")])


def test_a_name_given_in_two_files_names_both(main, folder):
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_bytes(RULE % (b"same", 1))
    assert refused(main) == (
        f"{folder}/b.yaml:1:9: rules.same: `same` is given twice, first at {folder}/a.yaml:1:9;"
        " rename or delete one"
    )


def test_the_problems_of_all_files_are_reported_at_once(main, folder):
    (folder / "a.yaml").write_bytes(b"rules: [")
    (folder / "b.yaml").write_bytes(b"\trules:")
    with pytest.raises(ConfigError) as caught:
        load(main)
    assert [Path(problem.where.file).name for problem in caught.value.problems] == ["a.yaml", "b.yaml"]


def test_a_missing_file_is_one_problem(tmp_path):
    assert (
        refused(tmp_path / "x.yaml")
        == f"{tmp_path}/x.yaml: no such file or directory; write it, or name another file"
    )
    assert refused("") == ".: this is a directory, not a file"
    assert refused(tmp_path / "a\0b") == f"{tmp_path}/a\ufffdb: this is not a file name"


def test_a_name_that_cannot_be_printed_is_still_one_line(tmp_path):
    assert refused(os.fsdecode(b"/nowhere/\xff\n\x1b[31m")) == (
        "/nowhere/\\xff\ufffd\ufffd[31m: no such file or directory; write it, or name another file"
    )


def test_a_folder_a_pipe_a_socket_and_a_device_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert refused(tmp_path) == f"{tmp_path}: this is a directory, not a file"
        assert refused(tmp_path / "pipe") == f"{tmp_path}/pipe: this is a pipe, not a file"
        assert refused(tmp_path / "socket") == f"{tmp_path}/socket: this is a socket, not a file"
        assert refused("/dev/zero") == "/dev/zero: this is a device, not a file"


def test_a_drop_in_directory_that_is_not_a_folder_is_refused(main):
    main.with_name("mcrelay.d").write_text("")
    assert refused(main) == f"{main.with_name('mcrelay.d')}: not a directory"


def test_a_drop_in_with_a_name_that_would_not_be_read_is_refused(main, folder):
    (folder / "a.yml").write_bytes(b"")
    assert refused(main) == f"{folder}/a.yml: drop-ins end in `.yaml`; rename it"


@pytest.fixture
def open_folder():
    """A folder that every user may enter, unlike tmp_path."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def nobody(open_folder):
    """Let the process be another user for a while, because modes do not restrict root."""
    (open_folder / "mcrelay.yaml").write_bytes(MAIN)
    (open_folder / "mcrelay.yaml").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_an_unreadable_file_is_one_problem(open_folder, nobody):
    assert (
        refused(open_folder / "mcrelay.yaml")
        == f"{open_folder}/mcrelay.yaml: permission denied; let this user read it, or use sudo"
    )


def test_a_file_beyond_the_limit_is_refused_and_not_read_to_its_end(tmp_path):
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as opened:
        opened.truncate(50 * 2**20)  # a hole: 50 MB that take no room
    assert refused(huge) == f"{huge}: the configuration is larger than 32 MiB"


def test_the_limit_is_for_all_files_together(main, folder):
    for name in ("a.yaml", "b.yaml"):
        with (folder / name).open("wb") as opened:
            opened.truncate(MAX_TOTAL_BYTES // 2 + 1)
    with pytest.raises(ConfigError, match=r"b\.yaml: the configuration is larger than 32 MiB"):
        read(main)


def test_stamps_change_when_a_file_is_written_renamed_added_or_removed(main, folder):
    seen = [read_stamps(main)]

    def assert_other():
        seen.append(read_stamps(main))
        assert seen[-1] not in seen[:-1]

    main.write_bytes(MAIN + b"\n")
    assert_other()
    (folder / "a.yaml").write_bytes(RULE % (b"a", 1))
    assert_other()
    (folder / "a.yaml").rename(folder / "b.yaml")
    assert_other()
    (folder / "new").write_bytes(RULE % (b"a", 2))
    os.utime(folder / "new", ns=(0, (folder / "b.yaml").stat().st_mtime_ns))
    (folder / "new").rename(folder / "b.yaml")
    assert_other()
    (folder / "c.yml").touch()
    assert_other()
    (folder / "c.yml").unlink()
    (folder / "b.yaml").unlink()
    (folder / "b.yaml").symlink_to("nowhere")
    assert_other()
    main.unlink()
    assert_other()


def test_stamps_stay_when_files_are_read_or_other_files_are_written(main, folder):
    (folder / "a.yaml").write_bytes(RULE % (b"a", 1))
    before = read_stamps(main)
    read(main)
    for name in (".hidden.yaml", "notes.txt", "a.yaml~"):
        (folder / name).write_bytes(b"")
        main.with_name(name).write_bytes(b"")
    assert read_stamps(main) == before


@pytest.mark.parametrize("has_main", [True, False])
def test_a_drop_in_that_is_given_as_the_main_file_says_where_it_belongs(tmp_path, has_main):
    (tmp_path / "mcrelay.d").mkdir()
    if has_main:
        (tmp_path / "mcrelay.yaml").write_text("version: 1\n")
    drop_in = tmp_path / "mcrelay.d" / "10-camera.yaml"
    drop_in.write_text("rules: {}\n")
    with pytest.raises(ConfigError) as refused:
        read(drop_in)
    (problem,) = refused.value.problems
    assert problem.message == (
        f"this is a drop-in of {tmp_path}/mcrelay.yaml, and not a whole configuration; name the main file"
        f" instead, which is read with its drop-ins: `mcrelay check {tmp_path}/mcrelay.yaml`"
    )


def test_a_whole_configuration_may_lie_in_a_directory_of_drop_ins(tmp_path):
    (tmp_path / "mcrelay.d").mkdir()
    main = tmp_path / "mcrelay.d" / "other.yaml"
    main.write_text("# ours\nversion: 1\n")
    assert read(main) == [(str(main), b"# ours\nversion: 1\n")]
