"""The processes of the relay: their privileges, their end, and the restart of a dead worker."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from mcrelay.client.connection import RequestFailed, connect
from mcrelay.lab import Daemon, Receiver, report_of
from mcrelay.lab.command import mcrelay, wait_until

pytestmark = pytest.mark.planes("userspace")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
NOBODY = 65534
NOT_PERMITTED = 4


def status(process):
    """Return /proc/PID/status as a dictionary."""
    lines = Path("/proc", str(process), "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def assert_powerless(process):
    found = status(process)
    assert {name: int(found[name], 16) for name in CAPABILITY_SETS} == dict.fromkeys(CAPABILITY_SETS, 0)
    assert found["NoNewPrivs"] == "1"
    assert "0" not in found["Uid"].split() + found["Gid"].split()
    assert found["Groups"] == ""


def test_a_worker_has_no_capability_cannot_gain_one_and_is_not_root(studio):
    with studio.relaying(FEED) as relay:
        workers = relay.workers()
        assert workers
        for worker in workers:
            assert_powerless(worker)


def test_the_supervisor_keeps_only_what_it_needs(studio):
    network = {12, 13}  # CAP_NET_ADMIN, CAP_NET_RAW
    ports = {10}  # CAP_NET_BIND_SERVICE
    kernel = {39}  # CAP_BPF
    # CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP: its children run as another user, without any
    children = {5, 6, 7, 8}
    code = {2}  # CAP_DAC_READ_SEARCH: the code may lie where only its owner reads
    with studio.relaying(FEED) as relay:
        found = status(relay.process.pid)
    held = {number for number in range(64) if int(found["CapEff"], 16) >> number & 1}
    assert network <= held <= network | ports | kernel | children | code
    assert int(found["CapAmb"], 16) == 0


def test_a_worker_has_no_privilege_even_if_its_user_cannot_read_the_code(studio, private_python):
    with studio.relaying(FEED, python=str(private_python)) as relay:
        (worker,) = relay.workers()
        assert Path(f"/proc/{worker}/cmdline").read_bytes().startswith(str(private_python).encode())
        assert_powerless(worker)
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100, rate=1000)
        assert left.report().received == 100
        assert_answers_all(relay)


def assert_answers_all(relay):
    """Whatever the control process needs for an answer, it has: it cannot read a single module any more."""
    calls = [
        ("status", {}),
        ("stats", {"rule": "feed"}),
        ("list", {}),
        ("reload.mark", {}),
        ("reload.verdict", {}),
    ]
    with connect(str(relay.run_dir / "control.sock")) as client:
        for method, params in calls:
            assert client.call(method, **params)
        for wrong in ({"rule": "fed"}, {"rule": 7}):
            with pytest.raises(RequestFailed):
                client.call("status", **wrong)
        trace = client.call("trace.start", rule="feed")["trace"]
        assert client.call("trace.read", trace=trace, packets=True)["ended"] is None
        assert client.call("trace.stop", trace=trace) == {}


@pytest.fixture
def private_python(tmp_path):
    """A Python with all that mcrelay needs, in a virtual environment that only root may enter."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    library = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    not_needed = shutil.ignore_patterns(
        *(
            "*mypy*",
            "ruff*",
            "pip*",
            "setuptools*",
            "coverage*",
            "*coverage*.pth",
            "__pycache__",
            "*mcrelay*",
        ),
        *("babel*", "sphinx*", "pygments*", "matplotlib*", "fonttools*", "fontTools*", "PIL", "pillow*"),
    )
    shutil.copytree(sys.prefix, home / "venv", symlinks=True, ignore=not_needed)
    shutil.copytree(Path(__file__).parents[2] / "mcrelay", home / "venv" / library / "mcrelay")
    return home / "venv/bin/python"


def test_a_killed_worker_is_restarted_with_its_rules(studio):
    with studio.relaying(FEED) as relay:
        (killed,) = relay.workers()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: relay.workers() not in ([], [killed]), "another worker")
        assert "239.1.1.1" in studio.relay.groups("eth0")
        assert_relays_again(studio)


def assert_relays_again(studio):
    """Whatever was lost while a worker starts: one probe comes through, and then everything does."""
    first = Receiver(studio.left, "239.2.2.2:6001")
    studio.send("239.1.1.1:5001", count=2000, rate=1000, size=100)
    assert first.report().received > 0
    then = Receiver(studio.left, "239.2.2.2:6001")
    studio.send("239.1.1.1:5001", count=5000, rate=5000)
    report = then.report()
    assert report.received == 5000
    assert report.is_flawless


def test_a_worker_that_is_killed_under_traffic_loses_at_most_the_packets_until_its_restart(studio):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001", idle=3)
        sending = studio.start_sending("239.1.1.1:5001", count=50_000, rate=10_000)
        time.sleep(1)
        (killed,) = relay.workers()
        os.kill(killed, signal.SIGKILL)
        report_of(sending)
        report = left.report()
        assert relay.workers() not in ([], [killed])
    assert report.received > 25_000
    assert report.corrupt == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_two_seconds_and_leaves_nothing(studio, number):
    with studio.relaying(FEED) as relay:
        assert "239.1.1.1" in studio.relay.groups("eth0")
        seconds = relay.stop(number)
    assert seconds < 2
    assert relay.process.returncode == 0
    assert studio.relay.processes() == []
    assert "239.1.1.1" not in studio.relay.groups("eth0")


def test_workers_end_with_a_supervisor_that_is_killed(studio):
    with studio.relaying(FEED) as relay:
        relay.process.kill()
        wait_until(lambda: studio.relay.processes() == [], "the end of every worker")
    assert "239.1.1.1" not in studio.relay.groups("eth0")


def test_a_second_instance_on_the_same_run_directory_is_refused(studio):
    with studio.relaying(FEED) as relay:
        state = str(studio.folder / "state")
        command = mcrelay(
            "run", "-c", str(relay.config), "--run-dir", str(relay.run_dir), "--state-dir", state
        )
        second = studio.relay.run(command, check=False)
        assert second.returncode == 1
        assert len(second.stderr.splitlines()) == 1
        assert str(relay.run_dir) in second.stderr
        assert str(relay.process.pid) in second.stderr
        assert_relays_again(studio)


def test_two_instances_with_different_run_directories_run_side_by_side(studio):
    other = FEED.replace("239.1.1.1", "239.1.1.9").replace("239.2.2.2", "239.2.2.9")
    with studio.relaying(FEED), Daemon(studio.relay, studio.folder / "other", studio.config(other)) as second:
        assert len(second.workers()) == 1
        left = Receiver(studio.left, "239.2.2.9:6001")
        studio.send("239.1.1.9:5001", count=100, rate=1000)
        assert left.report().received == 100


def test_without_root_and_capabilities_it_names_the_missing_ones(studio, tmp_path):
    config = tmp_path / "mcrelay.yaml"
    config.write_text(studio.config(FEED))
    # This one capability allows the user nobody to read a Python that is installed below root's home.
    nobody = [
        *(
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "--bounding-set=-all,+dac_read_search",
        ),
        *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
    ]
    command = [*nobody, *mcrelay("run", "-c", str(config), *places(tmp_path))]
    refused = studio.relay.run(command, check=False)
    assert refused.returncode == NOT_PERMITTED
    assert len(refused.stderr.splitlines()) == 1
    assert "CAP_NET_RAW" in refused.stderr
    assert "CAP_NET_ADMIN" in refused.stderr


def test_an_invalid_file_at_the_start_ends_it_with_every_error(studio, tmp_path):
    config = tmp_path / "mcrelay.yaml"
    config.write_text(studio.config(FEED.replace("5001", "70000").replace("6001", "0")))
    refused = studio.relay.run(mcrelay("run", "-c", str(config), *places(tmp_path)), check=False)
    assert refused.returncode == 78
    assert refused.stderr.count(f"{config}:9:") == 2
    assert "Traceback" not in refused.stderr


def places(folder):
    """Return the options that keep a daemon's files in a folder of the test's own."""
    return "--run-dir", str(folder / "run"), "--state-dir", str(folder / "state")
