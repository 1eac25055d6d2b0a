"""Every folder on the way to the files is known, with the entries that matter there."""

import os

import pytest

from mcrelay.supervisor.file_watch.paths import MOST_PLACES, watched_directories


@pytest.fixture
def here(tmp_path):
    return tmp_path.resolve()


def names(path):
    """The entries that matter, by folder."""
    return {place.folder: set(place.names) for place in watched_directories(path)}


def test_the_folder_of_a_file_and_that_of_its_drop_ins_matter(here):
    (here / "mcrelay.yaml").touch()
    assert names(here / "mcrelay.yaml") == {str(here): {"mcrelay.yaml", "mcrelay.d"}}
    (here / "mcrelay.d").mkdir()
    assert names(here / "mcrelay.yaml") == {str(here): {"mcrelay.yaml"}, str(here / "mcrelay.d"): set()}


def test_only_what_leads_to_the_files_matters_and_drop_ins(here):
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


def test_links_are_followed_with_those_on_the_way_to_where_they_point(here):
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


def test_a_folder_that_is_missing_is_waited_for_in_the_one_above(here):
    found = names(here / "gone" / "mcrelay.yaml")
    assert found[str(here)] == {"gone"}
    assert str(here / "gone") not in found
    (here / "gone").mkdir()
    assert names(here / "gone" / "mcrelay.yaml") == {str(here / "gone"): {"mcrelay.yaml", "mcrelay.d"}}


def test_a_file_where_a_folder_should_be_is_no_place(here):
    (here / "mcrelay.d").write_text("")
    assert str(here / "mcrelay.d") not in names(here / "mcrelay.yaml")


def test_a_folder_made_again_is_another_place(here):
    (here / "a").mkdir()
    before = watched_directories(here / "a" / "mcrelay.yaml")
    (here / "a").rename(here / "b")
    (here / "a").mkdir()
    after = watched_directories(here / "a" / "mcrelay.yaml")
    assert [place.folder for place in before] == [place.folder for place in after]
    assert before != after


def test_a_ring_of_links_ends(here):
    (here / "mcrelay.yaml").symlink_to("mcrelay.yaml")
    assert names(here / "mcrelay.yaml")[str(here)] == {"mcrelay.yaml", "mcrelay.d"}


def test_a_name_is_meant_from_the_working_folder(here, monkeypatch):
    (here / "a").mkdir()
    monkeypatch.chdir(here / "a")
    assert names("../mcrelay.yaml")[str(here)] == {"mcrelay.yaml", "mcrelay.d"}


def test_links_into_very_many_folders_are_not_all_listened_to(here):
    (here / "mcrelay.d").mkdir()
    for number in range(2 * MOST_PLACES):
        (here / str(number)).mkdir()
        os.symlink(here / str(number) / "a", here / "mcrelay.d" / f"{number}.yaml")
    found = watched_directories(here / "mcrelay.yaml")
    assert len(found) == MOST_PLACES
    assert {str(here), str(here / "mcrelay.d")} <= {place.folder for place in found}
