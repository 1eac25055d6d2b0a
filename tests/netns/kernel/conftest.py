"""A relay host with a bpf file system of its own, for planes of a small program."""

import subprocess

import pytest

from mcrelay.kernel import plane as plane_module
from mcrelay.kernel.hooks import ClsactHook, TcxHook
from mcrelay.linux.bpf_file_system import mount_bpf_file_system
from tests.netns.support.kernel_relay import KernelRelay, Wire, has_tcx


@pytest.fixture
def file_system(tmp_path):
    path = tmp_path / "bpf"
    path.mkdir()
    mount_bpf_file_system(path)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def relay(studio, file_system):
    with studio.relay.enter_namespace():
        yield KernelRelay(file_system / "mcrelay")


@pytest.fixture
def wire(studio):
    return Wire(studio)


@pytest.fixture(params=[TcxHook, ClsactHook], ids=["tcx", "clsact"])
def hook(request, monkeypatch):
    """Every test that uses it runs once for each way to attach a program."""
    if request.param is TcxHook and not has_tcx():
        pytest.skip("tcx links need Linux 6.6")
    monkeypatch.setattr(plane_module, "choose_hook", lambda directory, program: request.param(directory))


@pytest.fixture
def clsact(monkeypatch):
    """The way to attach a program before Linux 6.6."""
    monkeypatch.setattr(plane_module, "choose_hook", lambda directory, program: ClsactHook(directory))
