"""The outputs and the summary of `mcrelay trace`."""

import argparse
import base64
import io
import json
from dataclasses import replace

import pytest

from mcrelay.cli import trace
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.trace_output import CaptureOutput, JsonOutput, TextOutput, TraceSummary
from mcrelay.tracing.events import PacketVerdict, SendOutcome
from mcrelay.tracing.format import as_document
from mcrelay.traffic.endpoint import UsageError
from tests.tracing.test_pcapng import blocks
from tests.tracing.test_ring import EVENT

DEVICES = {2: "eth0", 3: "eth1", 4: "eth2"}
ENETUNREACH = 101


def event(verdict=PacketVerdict.RELAYED, codes=(0,)):
    outcomes = tuple(SendOutcome(0xEF020202, 3, 6001, code) for code in codes)
    head = EVENT.head._replace(verdict=verdict)
    return as_document(
        replace(EVENT, head=head, outcomes=outcomes, outputs=len(outcomes)), "feed", DEVICES, with_packet=True
    )


def test_text_output_shows_events_and_gaps_in_order(capsys):
    lines = TextOutput()
    lines.show([event(), event(PacketVerdict.SOURCE, codes=())])
    lines.report_lost(1200)
    first, second, gap = capsys.readouterr().out.splitlines()
    assert first.endswith("TTL 1: relayed to 239.2.2.2:6001 (eth1)")
    assert ".123456789  eth0  192.168.168.55:4000 > 239.1.1.1:5001  1400 bytes" in first
    assert second.endswith(": dropped: source (192.168.168.55 is not in `sources`)")
    assert gap == "... 1,200 events lost: more than can be shown"


def test_json_output_is_an_object_a_line(capsys):
    lines = JsonOutput()
    lines.report_lost(3)
    lines.show([event(), event()])
    lost, one, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert lost == {"event": "lost", "count": 3}
    assert one == other == {"event": "packet", **event()}


def test_a_capture_has_each_packet_with_its_result_as_a_comment():
    file = io.BytesIO()
    capture = CaptureOutput(file)
    capture.show([event()])
    capture.report_lost(5)
    capture.show([event(PacketVerdict.OWN, codes=()) | {"device": None}])
    kinds = [(kind, b"rule feed: " in body, b"unknown" in body) for kind, body in blocks(file.getvalue())]
    described, packet = (1, False, False), (6, True, False)
    assert kinds == [(0x0A0D0D0A, False, False), described, packet, (1, False, True), packet]
    assert base64.b64decode(event()["packet"]) in file.getvalue()


def test_the_summary_is_one_line():
    seen = TraceSummary()
    assert seen.format() == "0 packets, 0 relayed"
    seen.add([event(), event(codes=(0, ENETUNREACH, 0xFFFF)), event(codes=(ENETUNREACH,))])
    seen.add([event(PacketVerdict.SOURCE, codes=())])
    seen.lost += 1200
    assert seen.format() == (
        "4 packets, 3 relayed, 1 dropped: source, 2 copies not sent: ENETUNREACH, 1 copy not sent: ttl,"
        " 1,200 events lost"
    )


def options(**given):
    return argparse.Namespace(**{"rule": "feed", "json": False, "pcapng": None, **given})


def test_a_capture_is_not_written_to_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal())
    with pytest.raises(UsageError, match="wireshark -k -i -"), trace._open_outputs(options(pcapng="-")):
        pass


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_capture_in_a_file_leaves_standard_output_to_the_lines(tmp_path):
    with trace._open_outputs(options(pcapng=str(tmp_path / "feed.pcapng"))) as (capture, lines):
        assert isinstance(capture, CaptureOutput)
        assert isinstance(lines, TextOutput)
    with trace._open_outputs(options(pcapng=str(tmp_path / "feed.pcapng"), json=True)) as (_, lines):
        assert isinstance(lines, JsonOutput)


class Answers:
    """A daemon with one rule, or none."""

    def __init__(self, rules):
        self.rules = rules

    def call(self, method, **params):
        if not self.rules:
            raise trace.RequestFailed(trace.Code.UNKNOWN_RULE, "no rule is named `feed`", None)
        return {"rules": self.rules}


def test_without_packets_it_says_what_to_check():
    advice = trace._advise(Answers([{"input": {"destination": "239.1.1.1", "device": "eth0"}}]), "feed")
    assert advice.startswith("no packet to 239.1.1.1 arrived on eth0, to any port.\n")
    assert advice.endswith("which tcpdump also shows, is taken only with `loopback: true`.")
    assert trace._advise(Answers([]), "feed") == "no packet arrived, and rule `feed` was removed"


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"loopback": True}, "an IGMP querier."),
        ({"destination": "10.1.0.1"}, "an IGMP querier."),
        ({"drops": {"own": 1}}, "The relay itself sent 1 packet to it, and takes nothing that it sends."),
    ],
)
def test_the_advice_about_packets_of_this_host_fits_the_input(fields, end):
    rule_input = {
        "destination": "239.1.1.1",
        "device": "eth0",
        "loopback": False,
        "drops": {"own": 0},
    } | fields
    assert trace._advise(Answers([{"input": rule_input}]), "feed").endswith(end)


def test_an_output_that_cannot_be_written_is_reported_in_one_line(capsys):
    assert trace.run(options(pcapng="/nowhere/at/all")) == Exit.USAGE
    said = capsys.readouterr().err
    assert said == "mcrelay trace: cannot write /nowhere/at/all: no such file or directory\n"
