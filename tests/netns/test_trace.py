"""`mcrelay trace` end to end: the events of a running relay for real packets."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

import mcrelay.cli.trace
from mcrelay.cli import main
from mcrelay.lab import Daemon, Receiver, send
from mcrelay.lab.command import TIMEOUT_S, mcrelay, wait_until
from tests.netns.support.frames import FOREIGN, GROUP, MORE_FRAGMENTS, PORT, Frame
from tests.netns.support.patience import ended_in_time
from tests.netns.support.relay_observer import assert_all_arrived, summary
from tests.netns.support.worker_harness import UdpListener, numbered_payloads

# A rule of the kernel is in the workers while it is traced, so most of this is the same for both planes.
pytestmark = pytest.mark.planes("kernel")
BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

NOBODY = 65534
FEW, MANY = 1, 150  # packets that a worker takes at once
FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
OTHER = (
    "other: {input: {interface: studio, group: 239.1.1.1, port: 5009},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6009}]}"
)
CHOOSY = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001, sources: [192.168.168.55]}, outputs: ["
    "{interface: left, group: 239.2.2.2, port: 6001, ttl: decrement},"
    "{interface: right, group: 239.2.2.2, port: 6001}]}"
)


@pytest.fixture
def wire(studio):
    """A packet socket of the sender, which takes any octets for a frame."""
    with studio.sender.enter_namespace(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("eth0", 0))
        yield wire


def lines_before_tracing(process):
    """Wait until `mcrelay trace` says that it traces, and return what is on its stderr before that."""
    before = []
    with ended_in_time(process):
        while not (said := process.stderr.readline()).startswith("tracing "):
            assert said, before
            before.append(said)
    return before


class Tracing:
    """`mcrelay trace`, running."""

    def __init__(self, relay, *options, rule="feed"):
        command = mcrelay("trace", rule, f"--socket={relay.run_dir / 'control.sock'}", *options)
        self.process = relay.host.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.await_begin()

    def await_begin(self):
        """Wait until it prints that it traces, and return the lines before that."""
        return lines_before_tracing(self.process)

    def lines(self, count):
        """Return the next lines."""
        with ended_in_time(self.process):
            return [self.process.stdout.readline() for _ in range(count)]

    def events(self, count):
        """Return the next events, with --json."""
        return [json.loads(line) for line in self.lines(count)]

    def rest(self, number=signal.SIGINT):
        """End it with a signal; return its exit code, the rest of its output, and its summary."""
        if number:
            self.process.send_signal(number)
        with ended_in_time(
            self.process
        ):  # not communicate(), which does not know what was read with a line before
            out, said = self.process.stdout.read(), self.process.stderr.read()
        return self.process.wait(TIMEOUT_S), out.splitlines(), said


def rings(process):
    """Return how many rings of traces a process has mapped; none if it has ended."""
    try:
        return Path(f"/proc/{process}/maps").read_text().count("mcrelay-trace")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def traced(relay):
    """Return the number of rings that the workers write."""
    return [rings(worker) for worker in relay.workers()]


def is_untraced(relay):
    """Return whether nothing is traced, and no worker relays a rule of the kernel any more."""
    has_workers = "data_plane: userspace" in relay.config.read_text()
    return traced(relay) == ([0] if has_workers else [])


def essence(event):
    """Return an event without its time, its length and its source."""
    outcomes = [one["errno"] or one["result"] for one in event["outputs"]]
    return event["port"], event["reason"], event["explanation"], outcomes


# The events of a packet.


@BOTH_PLANES
def test_a_relayed_packet_is_shown_with_its_device_source_length_ttl_and_output(studio, wire):
    left = UdpListener(studio.left)
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json")
        before = time.time_ns()
        wire.send(bytes(Frame(payload=b"hello", ttl=3, tos=0xB8)))
        (event,) = tracing.events(1)
        assert left.receive_first() == b"hello"
        code, rest, said = tracing.rest()
    assert before <= event.pop("time_ns") <= time.time_ns()
    assert event.pop("time").startswith("20")
    assert event == {
        "event": "packet",
        "rule": "feed",
        "worker": 0,
        "device": "eth0",
        "source": FOREIGN,
        "source_port": 4000,
        "destination": GROUP,
        "port": PORT,
        "ttl": 3,
        "dscp": 46,
        "vlan": None,
        "length": 33,
        "payload": 5,
        "verdict": "relayed",
        "reason": None,
        "explanation": "",
        "outputs": [
            {"device": "eth1", "destination": "239.2.2.2", "port": 6001, "result": "sent", "errno": None}
        ],
        "unlisted_outputs": 0,
    }
    assert (code, rest, said) == (0, [], "1 packet, 1 relayed\n")


def test_an_event_is_one_line_of_text(studio, wire):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay)
        wire.send(bytes(Frame(payload=b"hello")))
        (line,) = tracing.lines(1)
        clock, rest = line.split("  ", 1)
        assert len(clock) == len("21:03:04.123456789")
        assert rest == (
            "eth0  192.168.168.55:4000 > 239.1.1.1:5001  5 bytes of payload, TTL 1:"
            " relayed to 239.2.2.2:6001 (eth1)\n"
        )
        assert tracing.rest(signal.SIGTERM)[0] == 0


KINDS = {
    "relayed": (Frame(ttl=9), (PORT, None, ["sent", "ENETDOWN"])),
    "expired": (Frame(ttl=1), (PORT, None, ["ttl", "ENETDOWN"])),
    "first fragment": (Frame(fragment=MORE_FRAGMENTS), (None, "fragment", [])),
    "later fragment": (Frame(fragment=100), (None, "fragment", [])),
    "header length": (Frame(header_words=4), (None, "malformed", [])),
    "checksum": (Frame(checksum=1), (None, "malformed", [])),
    "UDP length": (Frame(udp_length=7), (None, "malformed", [])),
    "foreign source": (Frame(source="10.0.0.66"), (PORT, "source", [])),
    "wrong port": (Frame(port=PORT + 1), (PORT + 1, "no_rule", [])),
    "tagged": (Frame(vlan=5), (PORT, "no_rule", [])),
}
NOT_ABOUT_IT = [Frame(destination="239.1.1.9"), Frame(port=5009), Frame(destination="239.1.1.9", fragment=9)]


@BOTH_PLANES
@pytest.mark.parametrize("companions", [FEW, MANY])
def test_every_packet_of_a_rule_and_every_near_miss_is_shown_with_its_outcome_and_no_other(
    studio, wire, companions
):
    """Few packets or many at once: both paths write the same events, and these agree with the counters."""
    studio.relay.ip("link set eth2 down")
    expected = {kind: wanted for kind, (_, wanted) in KINDS.items()}
    with studio.relaying(CHOOSY, OTHER) as relay:
        tracing = Tracing(relay, "--json")
        for _ in range(companions // len(KINDS) + 1):
            for frame in NOT_ABOUT_IT:
                wire.send(bytes(frame))
            for frame, _ in KINDS.values():
                wire.send(bytes(frame))
        events = tracing.events(len(KINDS) * (companions // len(KINDS) + 1))
        counted = summary(relay)
        _, rest, _ = tracing.rest()
    assert rest == []
    down = {
        "ENETUNREACH": "ENETDOWN",
        "link_down": "ENETDOWN",
    }  # sockets say either; the kernel plane is told
    lines = [
        (port, reason, [down.get(outcome, outcome) for outcome in outcomes])
        for port, reason, _, outcomes in map(essence, events)
    ]
    assert lines == [tuple(wanted) for wanted in expected.values()] * (companions // len(KINDS) + 1)
    reasons = Counter(event["reason"] for event in events)
    assert counted.rules["feed"].packets == reasons[None]
    assert counted.rules["feed"].drops == {
        name: reasons[name] for name in ("fragment", "malformed", "source")
    }


def test_the_line_of_each_drop_explains_it(studio, wire):
    with studio.relaying(CHOOSY) as relay:
        tracing = Tracing(relay)
        for kind in ("foreign source", "wrong port", "tagged", "first fragment"):
            wire.send(bytes(KINDS[kind][0]))
        outcomes = [line.split(": ", 1)[1].strip() for line in tracing.lines(4)]
        said = tracing.rest()[2]
    assert outcomes[:3] == [
        "dropped: source (10.0.0.66 is not in `sources`)",
        "dropped: no_rule (no rule matches port 5002 of 239.1.1.1 on this device)",
        "dropped: no_rule (the frame has VLAN tag 5:"
        " name the VLAN's device, such as eth0.5, in `interfaces`)",
    ]
    assert outcomes[3].startswith("dropped: fragment (")
    assert said == ("4 packets, 0 relayed, 2 dropped: no_rule, 1 dropped: source, 1 dropped: fragment\n")


@BOTH_PLANES
def test_a_packet_of_the_relay_itself_is_shown_as_own(studio, echo):
    with studio.daemon(echo.config) as relay:
        tracing = Tracing(relay, "--json", rule="echo")
        send(echo.source, "239.1.1.1:5001", "--interface=eth0", "--count=1")
        relayed, own = tracing.events(2)
        tracing.rest()
    assert (relayed["source"], relayed["verdict"]) == ("192.168.168.55", "relayed")
    assert (own["source"], own["verdict"], own["reason"]) == ("10.9.0.3", "dropped", "own")


def test_each_output_of_a_fan_out_has_its_outcome(studio, wire):
    outputs = ",".join(f"{{interface: left, group: 239.2.2.{n}, port: 6001}}" for n in range(1, 9))
    rule = f"feed: {{input: {{interface: studio, group: 239.1.1.1, port: 5001}}, outputs: [{outputs}]}}"
    with studio.relaying(rule) as relay:
        tracing = Tracing(relay, "--json")
        for payload in numbered_payloads(MANY):
            wire.send(bytes(Frame(payload=payload)))
        events = tracing.events(MANY)
        tracing.rest()
    for event in events:
        assert [one["destination"] for one in event["outputs"]] == [f"239.2.2.{n}" for n in range(1, 9)]
        assert {one["result"] for one in event["outputs"]} == {"sent"}


# How a trace runs and ends.


@BOTH_PLANES
def test_it_ends_after_the_number_of_packets(studio, wire):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json", "--count=3")
        for payload in numbered_payloads(10):
            wire.send(bytes(Frame(payload=payload)))
        code, lines, said = tracing.rest(number=None)
        wait_until(lambda: is_untraced(relay), "the end of the trace in the worker")
    assert (code, len(lines), said) == (0, 3, "3 packets, 3 relayed\n")


def test_without_packets_it_advises_what_to_look_at_next(studio):
    with studio.relaying(FEED) as relay:
        code, lines, said = Tracing(relay, "--duration=0.3").rest(number=None)
    assert (code, lines) == (1, [])
    assert said.startswith("no packet to 239.1.1.1 arrived on eth0, to any port.\n")
    assert "tcpdump -ni eth0 udp" in said
    assert said.endswith("0 packets, 0 relayed\n")


@BOTH_PLANES
def test_two_clients_each_see_all_of_it(studio, wire):
    with studio.relaying(FEED) as relay:
        first = Tracing(relay, "--json")
        wire.send(bytes(Frame(payload=b"1")))
        assert [event["payload"] for event in first.events(1)] == [1]
        second = Tracing(relay, "--json")
        wire.send(bytes(Frame(payload=b"22")))
        assert first.events(1) == second.events(1)
        first.rest()
        assert traced(relay) == [1]
        wire.send(bytes(Frame(payload=b"333")))
        assert [event["payload"] for event in second.events(1)] == [3]
        second.rest()
        wait_until(lambda: is_untraced(relay), "the end of the trace in the worker")


def test_two_rules_are_traced_side_by_side_and_each_has_its_own_packets(studio, wire):
    with studio.relaying(FEED, OTHER) as relay:
        feed, other = Tracing(relay, "--json"), Tracing(relay, "--json", rule="other")
        for frame in (Frame(), Frame(port=5009), Frame(port=5555)):
            wire.send(bytes(frame))
        seen = [[(e["port"], e["verdict"]) for e in one.events(2)] for one in (feed, other)]
        assert feed.rest()[1] == other.rest()[1] == []
    assert seen == [
        [(PORT, "relayed"), (5555, "dropped")],
        [(5009, "relayed"), (5555, "dropped")],
    ]


def test_the_trace_of_a_killed_client_ends(studio):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay)
        (control,) = control_processes(relay)
        assert (traced(relay), rings(control)) == ([1], 1)
        tracing.rest(signal.SIGKILL)
        wait_until(lambda: is_untraced(relay) and not rings(control), "the end of the trace everywhere")


@BOTH_PLANES
def test_a_trace_continues_when_the_worker_is_killed_and_misses_nothing(studio, wire):
    left = UdpListener(studio.left)
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json")
        for number in range(1, 4):
            wire.send(bytes(Frame(payload=bytes(number))))
            assert left.receive_first() == bytes(number)
            assert [event["payload"] for event in tracing.events(1)] == [number]
            (worker,) = relay.workers()
            time.sleep(0.05)  # until it has given the frame back: else its successor sends it again
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: relay.workers() not in ([], [worker]), "a successor")
        assert tracing.rest()[0] == 0


@BOTH_PLANES
def test_workers_that_a_reload_adds_are_traced_too(studio, wire):
    frames = [bytes(Frame(source_port=port)) for port in range(1000, 1040)]  # as many flows
    config = studio.config(FEED)
    with studio.daemon(config) as relay:
        tracing = Tracing(relay, "--json")
        relay.reload(config.replace("rules:", "workers: 2\nrules:"))
        wait_until(lambda: traced(relay) == [1, 1], "both workers to trace")
        for frame in frames:
            wire.send(frame)
        events = tracing.events(len(frames))
        assert tracing.rest()[0] == 0
    assert sorted(event["source_port"] for event in events) == list(range(1000, 1040))
    assert {event["worker"] for event in events} == {0, 1}


def test_a_reload_that_leaves_the_rule_alone_leaves_its_trace_alone(studio, wire):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json")
        relay.reload(studio.config(FEED, OTHER))
        wire.send(bytes(Frame()))
        assert tracing.events(1)[0]["verdict"] == "relayed"
        assert tracing.rest()[0] == 0


@BOTH_PLANES
def test_after_a_reload_that_changes_the_rule_the_trace_shows_its_new_outputs(studio, wire):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json")
        wire.send(bytes(Frame()))
        before = tracing.events(1)
        relay.reload(studio.config(FEED.replace("port: 6001", "port: 6002")))
        wire.send(bytes(Frame()))
        ports = [event["outputs"][0]["port"] for event in before + tracing.events(1)]
        tracing.rest()
    assert ports == [6001, 6002]


def test_a_reload_that_removes_the_rule_ends_its_trace_with_a_reason(studio):
    with studio.relaying(FEED, OTHER) as relay:
        tracing = Tracing(relay)
        relay.reload(studio.config(OTHER))
        code, _, said = tracing.rest(number=None)
        wait_until(lambda: is_untraced(relay), "the end of the trace in the worker")
    assert code == 1
    assert "the trace of `feed` ended: there is no rule feed" in said


def test_a_trace_is_restarted_when_the_control_process_is_killed(studio, wire):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json")
        (control,) = control_processes(relay)
        os.kill(control, signal.SIGKILL)
        said = tracing.await_begin()
        assert said
        assert all("starting the trace again" in line for line in said)
        wire.send(bytes(Frame()))
        assert tracing.events(1)[0]["verdict"] == "relayed"
        assert tracing.rest()[0] == 0


def test_a_suspended_client_loses_its_lease_and_restarts_its_trace(studio, wire):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json")
        tracing.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_untraced(relay), "the end of the lease")
        tracing.process.send_signal(signal.SIGCONT)
        (said,) = tracing.await_begin()
        assert said.endswith("it may have expired; starting the trace again\n")
        wire.send(bytes(Frame()))
        assert tracing.events(1)[0]["verdict"] == "relayed"
        assert tracing.rest()[0] == 0


def test_a_trace_ends_with_the_daemon(studio):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay)
        relay.stop()
        code, _, said = tracing.rest(number=None)
    assert code == 3
    assert "no daemon at " in said


def control_processes(relay):
    return [
        process
        for process in relay.host.processes()
        if b"mcrelay.control" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    ]


def test_a_trace_ends_when_the_reader_of_its_output_has_gone(studio):
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay)
        tracing.process.stdout.close()
        assert tracing.process.wait(TIMEOUT_S) in (1, 141)
        wait_until(lambda: is_untraced(relay), "the end of the trace in the worker")


# At full rate.


@BOTH_PLANES
def test_at_full_rate_events_are_lost_and_counted_and_no_packet_is(studio):
    count = 60_000
    with studio.relaying(FEED) as relay:
        tracing = Tracing(relay, "--json")
        with tracing.process.stdout, ended_in_time(tracing.process):
            left = Receiver(studio.left, "239.2.2.2:6001")
            studio.start_sending("239.1.1.1:5001", count, rate=20_000)
            packets = lost = 0
            while packets + lost < count:
                event = json.loads(tracing.process.stdout.readline())
                packets += event["event"] == "packet"
                lost += event.get("count", 0)
            tracing.process.send_signal(signal.SIGINT)
            said = tracing.process.stderr.read()
        assert_all_arrived(left.report(), count)
        counted = summary(relay)
    assert packets + lost == count == counted.rules["feed"].packets
    assert packets >= 5000
    assert lost
    assert said == f"{packets:,} packets, {packets:,} relayed, {lost:,} events lost\n"


# Captures.


def shown_by_tshark(file, *fields):
    """Return these fields of each packet of a capture."""
    names = [word for field in fields for word in ("-e", field)]
    command = ["tshark", "-r", str(file), "-T", "fields", *names]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("\t") for line in shown.stdout.splitlines()]


FIELDS = ("frame.interface_name", "ip.src", "ip.dst", "udp.dstport", "udp.payload", "frame.comment")
CAPTURED = [
    ["eth0", FOREIGN, GROUP, "5001", b"good".hex(), "rule feed: relayed to 239.2.2.2:6001 (eth1)"],
    ["eth0", "10.0.0.66", GROUP, "5001", b"foreign".hex(),
     "rule feed: dropped: source (10.0.0.66 is not in `sources`)"],
]  # fmt: skip


def test_a_capture_shows_wireshark_each_packet_with_its_outcome(studio, wire, tmp_path):
    rule = CHOOSY.replace(",{interface: right, group: 239.2.2.2, port: 6001}", "")
    file = tmp_path / "feed.pcapng"
    with studio.relaying(rule) as relay:
        tracing = Tracing(relay, f"--pcapng={file}")
        before = time.time()
        wire.send(bytes(Frame(payload=b"good", ttl=5)))
        wire.send(bytes(Frame(payload=b"foreign", source="10.0.0.66")))
        assert [line.count("eth0") for line in tracing.lines(2)] == [1, 1]
        # Each event is in the file as soon as it is printed.
        assert shown_by_tshark(file, *FIELDS) == CAPTURED
        assert tracing.rest()[0] == 0
    for (stamp,) in shown_by_tshark(file, "frame.time_epoch"):
        assert before <= float(stamp) <= time.time()
        assert len(stamp.split(".")[1]) == 9


def test_a_capture_can_be_piped_into_wireshark_live(studio, wire):
    rule = CHOOSY.replace(",{interface: right, group: 239.2.2.2, port: 6001}", "")
    names = " ".join(f"-e {field}" for field in FIELDS)
    with studio.relaying(rule) as relay:
        trace = shlex.join(
            mcrelay("trace", "feed", f"--socket={relay.run_dir / 'control.sock'}", "--pcapng=-")
        )
        process = relay.host.start(
            ["sh", "-c", f"{trace} | tshark -l -r - -T fields {names}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        lines_before_tracing(process)
        wire.send(bytes(Frame(payload=b"good", ttl=5)))
        wire.send(bytes(Frame(payload=b"foreign", source="10.0.0.66")))
        with ended_in_time(process):
            shown = [process.stdout.readline().rstrip("\n").split("\t") for _ in range(2)]
        process.send_signal(signal.SIGTERM)
    assert shown == CAPTURED
    process.communicate(timeout=TIMEOUT_S)


# What cannot be traced.


def refused(relay, *arguments):
    """Run `mcrelay trace`, which must fail; return its exit code and message."""
    command = mcrelay("trace", *arguments, f"--socket={relay.run_dir / 'control.sock'}")
    done = relay.host.run(command, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def refused_to_nobody(relay):
    """The same as another user, who may be unable to read this Python: all imports are done before."""
    said, saying = os.pipe()
    if (child := os.fork()) == 0:
        os.dup2(saying, 2)
        sys.stderr = os.fdopen(2, "w")
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        code = main(["trace", "feed", f"--socket={relay.run_dir / 'control.sock'}"])
        sys.stderr.flush()
        os._exit(code)
    os.close(saying)
    with os.fdopen(said) as lines:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines.read()


@pytest.fixture
def public_folder():
    """A folder that everyone may enter."""
    with tempfile.TemporaryDirectory(prefix="mcrelay-trace-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_user_who_may_open_the_socket_but_is_not_of_its_group_may_not_trace(studio, public_folder):
    with Daemon(studio.relay, public_folder / "daemon", studio.config(FEED)) as relay:
        os.chmod(relay.run_dir / "control.sock", 0o666)
        code, said = refused_to_nobody(relay)
        assert is_untraced(relay)
    assert code == 4
    assert said == ("mcrelay: traces show what packets carry: only root and the socket's group may\n")


def test_a_user_who_may_not_open_the_socket_may_not_trace(studio, public_folder):
    with Daemon(studio.relay, public_folder / "daemon", studio.config(FEED)) as relay:
        code, said = refused_to_nobody(relay)
    assert (code, said.count("\n")) == (4, 1)


def test_a_trace_of_a_rule_that_does_not_run_fails_with_its_state_and_reason(studio):
    away = FEED.replace("feed:", "away:").replace("5001", "5002").replace("left", "gone")
    off = OTHER.replace("other: {", "off: {enabled: false, ")
    config = studio.config(FEED, away, off).replace("rules:", "  gone: {device: eth7}\nrules:")
    with studio.daemon(config) as relay:
        assert refused(relay, "away") == (
            1,
            "mcrelay: `away` cannot be traced: it is unresolved: output gone: device eth7 is absent\n",
        )
        code, said = refused(relay, "off")
        assert (code, "`off` cannot be traced: it is disabled" in said) == (1, True)
        code, said = refused(relay, "fed")
        assert (code, "did you mean" in said) == (1, True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--json", "--pcapng=-"), "would both write to standard output"),
        (("--pcapng=/nowhere/at/all",), "cannot write /nowhere/at/all: no such file or directory"),
    ],
)
def test_an_output_that_cannot_be_written_is_reported_in_one_line(studio, options, problem):
    with studio.relaying(FEED) as relay:
        code, said = refused(relay, "feed", *options)
    assert code == 2
    assert problem in said
    assert said.count("\n") == 1
