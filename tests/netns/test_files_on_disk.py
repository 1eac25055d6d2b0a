"""`status` tells that the files differ from what runs; a verdict names the rules that do not run."""

import json
import sys
import time

import pytest

from mcrelay.lab import Daemon

CONFIG = """\
version: 1
interfaces: {a: {device: eth0}, b: {device: eth1}}
rules:
  camera: {input: {interface: a, group: 239.1.1.1, port: 5001}, outputs: [{interface: b}]}
  sensor: {input: {interface: a, group: 239.1.1.2, port: 5001}, outputs: [{interface: a, group: 239.2.2.2}]}
"""
DEADLINE_S = 30.0


@pytest.fixture
def host(lab):
    relay, sender, receiver = lab.host("relay"), lab.host("sender"), lab.host("receiver")
    lab.link(sender.end("eth0", "192.168.168.55/24"), relay.end("eth0", "10.1.0.1/24"))
    lab.link(receiver.end("eth0", "10.2.0.2/24"), relay.end("eth1", "10.2.0.1/24"))
    return relay


@pytest.fixture
def daemon(host, tmp_path):
    with Daemon(host, tmp_path / "daemon", CONFIG, watch=False) as daemon:
        yield daemon


def run_verb(daemon, *words):
    """Run a verb that asks the daemon; return its exit code, output and errors."""
    command = [sys.executable, "-m", "mcrelay", *words, "--run-dir", str(daemon.run_dir)]
    process = daemon.host.start(command)
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def await_status(daemon, text):
    """Return the exit code, output and errors of `status` once it shows a text."""
    end = time.monotonic() + DEADLINE_S
    while True:
        code, out, err = run_verb(daemon, "status", "--exit-code")
        if text in out:
            return code, out, err
        assert time.monotonic() < end, out


def files_state(daemon):
    return json.loads(run_verb(daemon, "status", "--json")[1])["files"]["state"]


def test_status_tells_that_files_which_are_not_watched_differ_or_are_broken(daemon):
    assert (run_verb(daemon, "status", "--exit-code")[0], files_state(daemon)) == (0, "running")
    daemon.config.write_text(CONFIG.replace("5001", "5002"))
    code, _, err = await_status(daemon, "the files differ from what runs (2 changed): `mcrelay reload`")
    assert (code, files_state(daemon)) == (5, "differ")
    assert "the files differ from what runs" in err
    daemon.config.write_text("# a comment\n" + CONFIG)
    assert await_status(daemon, "differ from what runs (2 kept)")[0] == 0
    daemon.config.write_text(CONFIG + "rules: 7\n")
    code, out, err = await_status(daemon, "the files on disk are invalid")
    assert (code, files_state(daemon)) == (5, "invalid")
    assert f"{daemon.config}:" in out
    assert "a reload or a restart would refuse them" in err
    daemon.config.unlink()
    assert "no such file" in await_status(daemon, "no such file")[1].lower()
    daemon.config.write_text(CONFIG)
    end = time.monotonic() + DEADLINE_S
    while files_state(daemon) != "running":
        assert time.monotonic() < end


def test_a_verdict_names_the_rules_that_do_not_run_although_they_were_not_changed(daemon):
    daemon.config.write_text(CONFIG.replace("eth1", "nope0"))
    code, out, _ = run_verb(daemon, "reload")
    absent = "1 rule does not run: camera: output b: device nope0 is absent"
    assert (code, f"  {absent}" in out.splitlines()) == (0, True), out
    assert "changed  1 rule: camera" in out
    for words in (["reload"], ["try"], ["confirm"]):
        code, out, _ = run_verb(daemon, *words)
        assert (code, f"  {absent}" in out.splitlines()) == (0, True), (words, out)
    document = json.loads(run_verb(daemon, "reload", "--json")[1])
    assert document["degraded"] == [
        {"name": "camera", "state": "unresolved", "reason": "output b: device nope0 is absent"}
    ]
    assert "1 rule would not run: camera: output b: device nope0 is absent" in run_verb(daemon, "plan")[1]
    words = ("add", "extra", "--input", "a:239.1.1.3:5001", "--output", "b:239.2.2.3")
    code, out, _ = run_verb(daemon, *words)
    assert code == 0
    assert "  2 rules do not run: camera, extra: output b: device nope0 is absent" in out.splitlines()
    code, out, _ = run_verb(daemon, "remove", "extra")
    assert (code, f"  {absent}" in out.splitlines()) == (0, True), out
