"""A host has one daemon for a run directory, and daemons that relay the same flow are told of each other."""

import shutil
import signal

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import mcrelay, wait_until

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
FAILURE = 1
SQUATTER = """
import hashlib, os, socket, sys, time
digest = hashlib.sha256(os.fsencode(os.path.realpath(sys.argv[1]))).hexdigest()
held = []
for number in range(8):
    held.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    held[-1].bind(f"\\0mcrelay/run-dir/{digest}/{number}")
    held[-1].listen()
print("ready", flush=True)
time.sleep(600)
"""


def start_second(studio, relay):
    """Start a daemon with the directories of one that runs, and wait for its end."""
    options = (f"--run-dir={relay.run_dir}", f"--state-dir={studio.folder}/other-state")
    return studio.relay.run(mcrelay("run", "-c", str(relay.config), *options), check=False, seconds=20)


@pytest.mark.parametrize("again", [True, False])
def test_a_run_directory_that_is_removed_does_not_let_a_second_daemon_start(studio, again):
    with studio.relaying(FEED) as relay:
        for _ in range(3):
            shutil.rmtree(relay.run_dir)
            if again:
                relay.run_dir.mkdir()
            second = start_second(studio, relay)
            assert second.returncode == FAILURE
            assert second.stderr == (
                f"mcrelay: mcrelay is already running in {relay.run_dir} (process {relay.process.pid}):"
                " use `mcrelay reload`, or choose another --run-dir\n"
            )
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100, rate=1000)
        report = left.report()
        assert (report.received, report.duplicated) == (100, 0)
        wait_until(lambda: relay.ask("status").returncode == 0, "the control socket, which is made again")


def test_a_daemon_that_was_killed_lets_the_next_one_start(studio):
    with studio.relaying(FEED) as relay:
        relay.process.send_signal(signal.SIGKILL)
        relay.process.wait()
    with studio.relaying(FEED) as relay:
        assert relay.ask("status").returncode == 0


def test_a_user_who_takes_the_names_keeps_no_daemon_from_its_start(studio):
    run_dir = studio.folder / "daemon" / "run"
    command = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        SQUATTER,
    ]
    squatter = studio.relay.start([*command, str(run_dir)])
    assert squatter.stdout.readline() == "ready\n"
    with studio.relaying(FEED) as relay:
        assert f"process {squatter.pid} of user 65534 holds a name of mcrelay; ignored" in relay.log()
    squatter.kill()
