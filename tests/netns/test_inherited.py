"""A daemon does not mind what its parent left to it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from mcrelay.client.connection import connect
from mcrelay.lab import Receiver
from mcrelay.lab.command import wait_until

pytestmark = pytest.mark.planes("userspace")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
HOSTILE = Path(__file__).parents[1] / "hostile_environment.py"


@pytest.fixture
def python(tmp_path):
    """A Python in which a program starts with the worst of what a parent can leave to it."""
    script = tmp_path / "python"
    script.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{HOSTILE}" "{tmp_path}" "{sys.executable}" "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def test_a_daemon_relays_reloads_reaps_and_is_reachable_whatever_it_inherits(studio, python):
    with studio.relaying(FEED, python=python) as relay:
        (killed,) = relay.workers()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: relay.workers() not in ([], [killed]), "another worker")
        with connect(str(relay.run_dir / "control.sock")) as client:
            (worker,) = (one for one in client.call("status")["processes"] if one["kind"] == "worker")
        assert worker["reason"] == "killed by SIGKILL"

        relay.reload(studio.config(FEED.replace("6001", "6002")))
        left = Receiver(studio.left, "239.2.2.2:6002")
        studio.send("239.1.1.1:5001", count=100, rate=1000)
        assert left.report().received == 100

        modes = [(path.stat().st_mode & 0o777) for path in (relay.run_dir, relay.run_dir / "control.sock")]
        assert modes == [0o755, 0o660]
        assert {path.stat().st_mode & 0o777 for path in (relay.state_dir / "history").iterdir()} == {0o640}
        assert relay.stop(signal.SIGINT) < 2
    assert relay.process.returncode == 0
