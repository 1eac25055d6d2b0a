"""The lock files name all that is installed, and nothing about this machine or its package index."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "packaging" / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
PYTHONS = ("3.11.2", "3.12.3", "3.13.5", "3.14.0")

spec = importlib.util.spec_from_file_location("differences", LOCKS / "differences.py")
differences = importlib.util.module_from_spec(spec)
spec.loader.exec_module(differences)


def demanded(group):
    """Return what a group of pyproject.toml demands, with the groups that it includes."""
    for entry in PROJECT["project"]["dependencies"] if group == "runtime" else GROUPS[group]:
        if isinstance(entry, dict):
            yield from demanded(entry["include-group"])
        else:
            yield Requirement(entry)


def pinned(name, python):
    """Return the versions in a lock file, by package, that are installed with a Python on Linux."""
    lines = re.findall(r"^([^\s#].*?) \\$", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE)
    environment = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    pins = {}
    for requirement in map(Requirement, lines):
        if not requirement.marker or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in pins
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            pins[name] = pin.version
    return pins


@pytest.mark.parametrize("group", ["runtime", *GROUPS])
@pytest.mark.parametrize("python", PYTHONS)
def test_a_lock_file_pins_what_pyproject_demands(group, python):
    pins = pinned(group, python)
    for requirement in demanded(group):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


# The compiler is never installed, so no other package need agree with it.
@pytest.mark.parametrize("group", [g for g in ("runtime", *GROUPS) if g not in ("test", "compiler")])
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_files_agree(group, python):
    assert pinned(group, python).items() <= pinned("test", python).items()


def test_the_lowest_versions_are_the_bounds_of_pyproject():
    pins = pinned("lowest", "3.11.2")
    for requirement in demanded("runtime"):
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        assert Version(bound.version) == Version(pins[canonicalize_name(requirement.name)])
    for requirement in demanded("test"):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert pinned("build", "3.11.2").items() <= pins.items()


@pytest.mark.parametrize("file", sorted(LOCKS.glob("*.txt")), ids=lambda file: file.name)
def test_a_lock_file_has_hashes_and_names_no_index_and_no_folder(file):
    text = file.read_text()
    packages = re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)[1:]
    assert packages
    for package in packages:
        assert re.match(r"[a-z0-9-]+==\S+( ; .*)? \\\n    --hash=sha256:[0-9a-f]{64}", package), package
    assert not re.search(r"://|--index|--extra-index|--find-links|/root|/home", text)


def test_versions_that_differ_from_a_lock_file_are_listed():
    lock = "a-b==1 \\\n    --hash=sha256:0\nc==1 ; python_version < '3' \\\nc==2 ; python_version >= '3' \\\n"
    installed = {"a-b": "2", "c": "2", "d": "3"}
    assert differences.differences(lock, installed) == ["a-b 2, locked: 1", "d 3, locked: not at all"]
