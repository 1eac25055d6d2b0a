"""The build of the package compiles the program of the kernel plane, or warns and goes on without it."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def load(name):
    """Return a module of packaging/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kernel_program, build_hook = load("kernel_program"), load("build_hook")


class App:
    """Records the warnings of a build."""

    def __init__(self):
        self.warnings = []

    def display_warning(self, text):
        self.warnings.append(text)


@pytest.fixture
def hook(monkeypatch, tmp_path):
    """A hook that compiles into a directory of its own."""
    monkeypatch.setattr(build_hook.kernel_program, "OBJECT", tmp_path / "relay.bpfel.o")
    app = App()
    hook = build_hook.KernelProgramHook(str(ROOT), {}, None, None, str(tmp_path), "wheel", app)
    hook.warnings = app.warnings
    return hook


def test_the_object_is_made_from_this_source():
    assert kernel_program.is_current()
    command = [sys.executable, ROOT / "packaging" / "kernel_program.py"]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_changed_source_makes_the_object_out_of_date(monkeypatch, tmp_path):
    program = shutil.copytree(kernel_program.PROGRAM, tmp_path / "program")
    (program / "packet.h").write_text("\n")
    monkeypatch.setattr(kernel_program, "PROGRAM", program)
    assert not kernel_program.is_current()


def test_the_wheel_has_the_object_and_fits_every_machine(tmp_path):
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert wheel.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("mcrelay/kernel/relay.bpfel.o") == kernel_program.OBJECT.read_bytes()


def test_the_compiler_is_a_requirement_only_if_the_object_is_not_current(hook):
    [requirement] = hook.dependencies()
    assert requirement.startswith("ziglang>=")
    hook_of_tree = load("build_hook").KernelProgramHook
    assert hook_of_tree(str(ROOT), {}, None, None, "", "wheel", None).dependencies() == []


def test_without_a_compiler_the_package_is_built_without_the_program(hook, monkeypatch):
    monkeypatch.setattr(build_hook.sys, "executable", "/nonexistent/python")
    hook.initialize("standard", {})
    [warning] = hook.warnings
    assert warning.startswith("built without the kernel data plane: ")
    assert not build_hook.kernel_program.OBJECT.exists()
