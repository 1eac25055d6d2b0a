"""Every folder on the way to the files is known, with the entries that matter there."""

import os

import pytest

from mcrelay.supervisor.file_watch.paths import MAX_DIRECTORIES, watched_directories


@pytest.fixture
def here(tmp_path):
    return tmp_path.resolve()


def names(path):
    """The entries that matter, by folder."""
    return {place.folder: set(place.names) for place in watched_directories(path)}


def test_the_directories_of_a_file_and_of_its_drop_ins_are_watched(here):
    (here / "mcrelay.yaml").touch()
    assert names(here / "mcrelay.yaml") == {str(here): {"mcrelay.yaml", "mcrelay.d"}}
    (here / "mcrelay.d").mkdir()
    assert names(here / "mcrelay.yaml") == {str(here): {"mcrelay.yaml"}, str(here / "mcrelay.d"): set()}


def test_only_drop_ins_and_entries_that_lead_to_the_files_matter(here):
    (here / "mcrelay.d").mkdir()
    found = {place.folder: place for place in watched_directories(here / "mcrelay.yaml")}
    beside, inside = found[str(here)], found[str(here / "mcrelay.d")]
    assert beside.matters(f"{here}/mcrelay.yaml")
    assert not beside.matters(f"{here}/other.yaml")
    assert not beside.matters(f"{here}/mcrelay.d/mcrelay.yaml")
    assert beside.matters(str(here))
    assert inside.matters(f"{here}/mcrelay.d/new.yaml")
    assert inside.matters(f"{here}/mcrelay.d/misnamed.yml")
    assert not any(inside.matters(f"{here}/mcrelay.d/{name}") for name in (".a.yaml", "a.yaml~", "4913"))


def test_links_are_followed_and_so_are_links_in_their_targets(here):
    (here / "real").mkdir()
    (here / "one").symlink_to("two")
    (here / "two").symlink_to(here / "real")
    (here / "mcrelay.yaml").symlink_to("real/../one/./file")
    found = names(here / "mcrelay.yaml")
    assert found[str(here)] == {"mcrelay.yaml", "mcrelay.d", "one", "two"}
    assert found[str(here / "real")] == {"file"}


def test_linked_drop_ins_are_followed(here):
    (here / "mcrelay.d" / "..2024").mkdir(parents=True)
    (here / "mcrelay.d" / "..data").symlink_to("..2024")
    (here / "mcrelay.d" / "a.yaml").symlink_to("..data/a.yaml")
    (here / "mcrelay.d" / "notes").symlink_to("/proc/self/root")
    found = {place.folder: place for place in watched_directories(here / "mcrelay.yaml")}
    inside = found[str(here / "mcrelay.d")]
    assert inside.names == {"a.yaml", "..data"}
    assert inside.matters(f"{here}/mcrelay.d/..data")
    assert inside.matters(f"{here}/mcrelay.d/b.yaml")
    assert found[str(here / "mcrelay.d" / "..2024")].names == {"a.yaml"}


def test_a_missing_directory_is_watched_for_in_its_parent(here):
    found = names(here / "gone" / "mcrelay.yaml")
    assert found[str(here)] == {"gone"}
    assert str(here / "gone") not in found
    (here / "gone").mkdir()
    assert names(here / "gone" / "mcrelay.yaml") == {str(here / "gone"): {"mcrelay.yaml", "mcrelay.d"}}


def test_a_file_in_place_of_a_directory_is_not_watched(here):
    (here / "mcrelay.d").write_text("")
    assert str(here / "mcrelay.d") not in names(here / "mcrelay.yaml")


def test_a_directory_that_was_created_again_is_a_different_one(here):
    (here / "a").mkdir()
    before = watched_directories(here / "a" / "mcrelay.yaml")
    (here / "a").rename(here / "b")
    (here / "a").mkdir()
    after = watched_directories(here / "a" / "mcrelay.yaml")
    assert [place.folder for place in before] == [place.folder for place in after]
    assert before != after


def test_links_in_a_circle_are_followed_only_so_often(here):
    (here / "mcrelay.yaml").symlink_to("mcrelay.yaml")
    assert names(here / "mcrelay.yaml")[str(here)] == {"mcrelay.yaml", "mcrelay.d"}


def test_a_relative_path_starts_at_the_working_directory(here, monkeypatch):
    (here / "a").mkdir()
    monkeypatch.chdir(here / "a")
    assert names("../mcrelay.yaml")[str(here)] == {"mcrelay.yaml", "mcrelay.d"}


def test_the_number_of_watched_directories_is_limited(here):
    (here / "mcrelay.d").mkdir()
    for number in range(2 * MAX_DIRECTORIES):
        (here / str(number)).mkdir()
        os.symlink(here / str(number) / "a", here / "mcrelay.d" / f"{number}.yaml")
    found = watched_directories(here / "mcrelay.yaml")
    assert len(found) == MAX_DIRECTORIES
    assert {str(here), str(here / "mcrelay.d")} <= {place.folder for place in found}
