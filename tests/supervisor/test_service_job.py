"""A service that systemd restarts is told from one that it stops."""

import pytest

from mcrelay.supervisor import service_job
from mcrelay.supervisor.service_job import is_restarting

SERVICE = "0::/system.slice/mcrelay.service\n"


@pytest.fixture
def is_restarting_with(tmp_path, monkeypatch):
    """Return the answer for the lines of a `systemctl`, and for a /proc/self/cgroup."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def ask(script, cgroup=SERVICE):
        (tmp_path / "cgroup").write_text(cgroup)
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "systemctl").chmod(0o755)
        return is_restarting(tmp_path / "cgroup")

    return ask


def test_a_restart_is_known_by_its_job(is_restarting_with):
    assert is_restarting_with("echo '1015 mcrelay.service restart running'")
    # As systemd had it before version 232, and still has it where controllers are of the first version.
    cgroup = "2:cpu:/\n1:name=systemd:/system.slice/mcrelay.service\n0::/system.slice/mcrelay.service\n"
    assert is_restarting_with("echo '1015 mcrelay.service restart waiting'", cgroup)


@pytest.mark.parametrize(
    "script",
    [
        "echo '1123 mcrelay.service stop running'",
        "echo '1123 other.service restart running'",
        ":",
        "echo 'System has not been booted with systemd' >&2; exit 1",
    ],
)
def test_everything_else_is_a_stop(is_restarting_with, script):
    assert not is_restarting_with(script)


def test_a_process_that_is_no_service_asks_nothing(is_restarting_with, tmp_path):
    script = f"touch {tmp_path}/asked; echo '1 session-1.scope restart running'"
    assert not is_restarting_with(script, "0::/user.slice/user-0.slice/session-1.scope\n")
    assert not (tmp_path / "asked").exists()


def test_a_host_without_systemctl_is_not_restarting(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "cgroup").write_text(SERVICE)
    assert not is_restarting(tmp_path / "cgroup")


def test_an_answer_that_does_not_come_is_not_awaited(is_restarting_with, monkeypatch):
    monkeypatch.setattr(service_job, "TIMEOUT_S", 0.01)
    assert not is_restarting_with("exec sleep 60")
