"""`mcrelay receive` explains why nothing arrives on a host whose own relay sends to the group."""

import argparse
import os

import pytest

from mcrelay.cli.silence import explain_silence
from mcrelay.traffic.endpoint import Endpoint
from tests.support.fake_daemon import serve_answers
from tests.support.status_documents import DOCUMENT, output, rule

GROUP, HOST = Endpoint("239.2.2.2", 6001), Endpoint("10.9.2.50", 6001)
NOT_HEARD = (
    "rule `camera` of the relay on this host sends to it, but this host does not hear it without"
    " `loopback: true` of the output"
)
ELSEWHERE = "rule `camera` of the relay on this host sends to it through eth1: give `--interface eth1`"


def explain(folder, *outputs, interface=None, pid=None, silent=(GROUP,)):
    """Return the hints with a daemon whose only rule has these outputs."""
    path = folder / "control.sock"
    daemon = DOCUMENT["daemon"] | {"pid": pid or os.getpid()}
    status = DOCUMENT | {"daemon": daemon, "rules": [rule(outputs=list(outputs))]}
    options = argparse.Namespace(socket=str(path), run_dir=None, interface=interface)
    with serve_answers(path, status=status):
        return explain_silence(silent, options)


@pytest.mark.parametrize("interface", [None, "eth1"])
def test_an_output_that_this_host_does_not_hear_is_named(tmp_path, interface):
    assert explain(tmp_path, output(), interface=interface) == {GROUP: NOT_HEARD}


def test_an_output_that_this_host_hears_on_another_device_is_named(tmp_path):
    assert explain(tmp_path, output(loopback=True)) == {GROUP: ELSEWHERE}


@pytest.mark.parametrize(
    "sent",
    [output(port=6002), output(destination="239.2.2.3"), output(runs=False), output(destination="10.9.2.50")],
)
def test_an_output_to_another_place_is_not_named(tmp_path, sent):
    assert explain(tmp_path, sent, silent=(GROUP, HOST)) == {}


def test_an_output_that_this_host_hears_is_not_named(tmp_path):
    assert explain(tmp_path, output(loopback=True), interface="eth1") == {}


def test_the_daemon_of_a_process_that_cannot_be_seen_counts_as_one_of_this_host(tmp_path):
    assert explain(tmp_path, output(), pid=2**22 + 1) == {GROUP: NOT_HEARD}


def test_without_a_daemon_there_is_no_hint(tmp_path):
    options = argparse.Namespace(socket=str(tmp_path / "nobody.sock"), run_dir=None, interface=None)
    assert explain_silence([GROUP], options) == {}
