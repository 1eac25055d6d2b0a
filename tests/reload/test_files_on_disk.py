"""What clients see of files on disk that do not run."""

import pytest

from mcrelay.config.changes import Changes
from mcrelay.config.problems import Problem, SourceLocation
from mcrelay.reload.files_on_disk import MAX_PROBLEMS, FilesOnDisk, FilesState, has_changes

PROBLEM = Problem(SourceLocation("/etc/mcrelay.yaml", 3, 1), "rules", "expected a mapping")


def test_invalid_files_have_their_problems_up_to_a_limit():
    files = FilesOnDisk(FilesState.INVALID, problems=(PROBLEM,) * 30)
    document = files.as_json()
    assert (document["state"], document["problem_count"]) == ("invalid", 30)
    assert document["problems"] == [PROBLEM.as_json()] * MAX_PROBLEMS
    assert str(files) == (
        "the files are invalid: /etc/mcrelay.yaml:3:1: rules: expected a mapping;"
        " a reload or a restart would refuse them"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (Changes(kept=("a",)), False),
        (Changes(added=("a",)), True),
        (Changes(changed={"a": ("ttl",)}), True),
        (Changes(removed=("a",)), True),
        (Changes(settings=("watch: true -> false",)), True),
    ],
)
def test_files_that_change_nothing_are_told_from_files_that_do(changes, expected):
    files = FilesOnDisk(FilesState.DIFFER, changes)
    assert has_changes(files.as_json()) is expected
    assert str(files) == f"the files differ from what runs ({changes}): `mcrelay reload` applies them"


def test_files_that_run_are_the_default():
    assert FilesOnDisk().as_json()["state"] == "running"
    assert str(FilesOnDisk()) == "the files are the same as what runs"
