import os

import pytest

from mcrelay.storage.directories import make_directory


@pytest.fixture(params=[0o077, 0o022, 0], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_directory_and_its_parents_have_their_modes_whatever_the_umask(tmp_path):
    make_directory(tmp_path / "a" / "b", 0o750)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755, 0o750]


def test_a_directory_that_exists_keeps_its_mode(tmp_path):
    (tmp_path / "a").mkdir(0o700)
    make_directory(tmp_path / "a", 0o755)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_a_file_in_its_place_is_an_error(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "a", 0o755)
    with pytest.raises(NotADirectoryError):
        make_directory(tmp_path / "a" / "b", 0o755)
