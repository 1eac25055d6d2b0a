"""What CI runs, in which order, and what fails it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALL = ["make test-latest", "make test-lowest", "make test"]


@pytest.fixture
def ci(tmp_path):
    """Return what runs CI in a copy of its script, with a `make` that only fails for some targets."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    programs = tmp_path / "programs"
    programs.mkdir()

    def run(*failing):
        cases = "".join(f"{target}) exit 2;; " for target in failing)
        (programs / "make").write_text(f'#!/bin/sh\necho "make $*"\ncase $1 in {cases} *) exit 0;; esac\n')
        (programs / "make").chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        return subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, env={"PATH": path})

    return run


def test_the_run_that_decides_is_the_last_one(ci):
    done = ci()
    assert (done.returncode, done.stdout.splitlines()) == (0, ALL)


def test_newest_versions_that_fail_are_reported_and_do_not_fail(ci):
    done = ci("test-latest")
    assert done.returncode == 0
    assert "    FAILED: make test-latest" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("#")] == 4 * ["#" * 100]
    assert [line for line in done.stdout.splitlines() if line in ALL] == ALL


@pytest.mark.parametrize("target", ["test-lowest", "test"])
def test_the_other_runs_fail_ci(ci, target):
    done = ci(target)
    assert done.returncode == 2
    assert done.stdout.splitlines() == ALL[: ALL.index(f"make {target}") + 1]
