"""The demo: its output, and that it cleans up."""

import signal
import subprocess

import pytest

from mcrelay.lab.command import TIMEOUT_S, mcrelay
from mcrelay.lab.host import NAMESPACES


@pytest.fixture
def demo():
    process = subprocess.Popen(mcrelay("demo"), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def namespaces_of(process):
    return list(NAMESPACES.glob(f"mcrelay-{process.pid}-*"))


def test_the_demo_relays_every_packet_and_cleans_up(demo):
    out, err = demo.communicate(timeout=4 * TIMEOUT_S)
    assert demo.returncode == 0, out + err
    assert "of 500 packets it receives 0" in out.lower()
    assert "No packet was lost" in out
    assert out.count("25,000") >= 3
    assert "10.3.0.1" in out
    assert "The packets are relayed by " in out
    assert namespaces_of(demo) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_cleans_up_when_it_is_interrupted(demo, number):
    for line in demo.stdout:
        if "mcrelay run" in line:
            break
    assert len(namespaces_of(demo)) == 4
    demo.send_signal(number)
    _, err = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode not in (0, 1)
    assert "Traceback" not in err
    assert namespaces_of(demo) == []


def test_without_root_the_demo_says_what_it_needs():
    # The remaining capability lets `nobody` read a Python that is installed in root's home.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    refused = subprocess.run(
        [*nobody, *reading, *mcrelay("demo")], text=True, capture_output=True, check=False
    )
    assert refused.returncode == 4
    assert refused.stderr.splitlines() == [
        "mcrelay demo: building network namespaces needs root: use `sudo mcrelay demo`"
    ]
