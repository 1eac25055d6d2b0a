"""Every import contract and every banned name of pyproject.toml is broken once in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = [contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]]
BANNED = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
LAYERS, PURE, SUPERVISOR, CONTROL, WORKER, COMMAND_LINE, VALUES, WATCHDOG = CONTRACTS

# The contract, the module that breaks it, and its new line.
BREACHES = [
    (LAYERS, "model/links.py", "import mcrelay.config.problems"),  # a lower layer imports a higher one
    (LAYERS, "client/connection.py", "import mcrelay.traffic.probe"),  # siblings know nothing of one another
    (LAYERS, "linux/netlink.py", "import mcrelay.storage.atomic"),
    (LAYERS, "supervisor/signals.py", "import mcrelay.cli.run"),
    (LAYERS, "exporter/__init__.py", ""),  # a package that has no layer
    (LAYERS, "helpers.py", ""),  # a module that is in no package
    *[
        (PURE, f"{package}/__init__.py", f"import {module}")
        for package, module in zip(
            ["model", "config", "packet", "tracing", "protocol", "reload", "reconcile", "status"],
            ["socket", "os", "mmap", "time", "logging", "threading", "subprocess", "pathlib"],
            strict=True,
        )
    ],
    (SUPERVISOR, "supervisor/signals.py", "import numpy"),
    (SUPERVISOR, "supervisor/signals.py", "import mcrelay.packet.headers"),  # which imports numpy
    (CONTROL, "control/peer.py", "import mcrelay.config.problems"),
    (CONTROL, "control/peer.py", "import yaml"),
    (WORKER, "worker/ring.py", "import mcrelay.reconcile.diff"),
    (WORKER, "worker/ring.py", "import asyncio"),
    (COMMAND_LINE, "cli/status.py", "import mcrelay.supervisor.signals"),
    (VALUES, "reconcile/diff.py", "import mcrelay.config.compiler"),
    (WATCHDOG, "linux/landlock.py", "import watchdog"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package and of the configuration of the tools."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(
        ROOT / "mcrelay", folder / "mcrelay", ignore=shutil.ignore_patterns("__pycache__", "schema.json")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def appended(copy):
    """Append a line to a module of the copy; what was there before comes back at the end of the test."""
    undo = []

    def append(module, line):
        path = copy / "mcrelay" / module
        before = path.read_text() if path.exists() else None
        undo.append((path, before))
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{before or ''}\n{line}\n")

    yield append
    for path, before in undo:
        if before is not None:
            path.write_text(before)
        elif path.name == "__init__.py":
            shutil.rmtree(path.parent)
        else:
            path.unlink()


def lint_imports(copy):
    """The exit code of lint-imports in the copy, and the state of every contract by its name."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--cache-dir", copy / "cache"]
    wide = {**os.environ, "COLUMNS": "1000", "PYTHONPATH": str(copy)}
    done = subprocess.run(command, cwd=copy, env=wide, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))


def test_the_copy_keeps_every_contract(copy):
    code, states = lint_imports(copy)
    assert states == dict.fromkeys(CONTRACTS, "KEPT")
    assert code == 0


@pytest.mark.parametrize(("contract", "module", "line"), BREACHES)
def test_a_breach_of_a_contract_is_found(copy, appended, contract, module, line):
    appended(module, line)
    code, states = lint_imports(copy)
    assert code == 1
    assert states[contract] == "BROKEN"


def test_every_contract_has_a_breach():
    assert {contract for contract, _, _ in BREACHES} == set(CONTRACTS)


@pytest.mark.parametrize("name", BANNED)
def test_a_banned_name_is_found_outside_its_module(copy, appended, name):
    package, _, attribute = name.rpartition(".")
    appended("linux/landlock.py", f"from {package} import {attribute}")
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--select",
        "TID251",
        "--output-format",
        "concise",
    ]
    done = subprocess.run([*ruff, "."], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (found,) = re.findall(r"^.*TID251.*$", done.stdout, re.MULTILINE)
    assert found.startswith("mcrelay/linux/landlock.py:")
    assert BANNED[name]["msg"] in found
