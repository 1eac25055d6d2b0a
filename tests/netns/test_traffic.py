"""`mcrelay send` and `mcrelay receive` between two hosts, with no relay."""

import json
import os
import re
import signal
import socket
from contextlib import contextmanager

import pytest

from mcrelay.lab.command import TIMEOUT_S, mcrelay, wait_until
from mcrelay.linux.constants import ETH_P_IP

GROUP = "239.1.1.1:5001"
TTL_OCTET = 8  # of the IPv4 header


@pytest.fixture
def hosts(lab):
    sender, receiver = lab.host("sender"), lab.host("receiver")
    lab.link(
        sender.end("eth0", "10.1.0.1/24", "10.1.0.3/24"),
        receiver.end("eth0", "10.1.0.2/24"),
    )
    return sender, receiver


def listening(host, *arguments, destination=GROUP):
    """Start `mcrelay receive`, and return once it is listening."""
    process = host.start(mcrelay("receive", *arguments, "--interface", "eth0"))
    address, _, port = destination.partition(":")
    wait_until(lambda: host.is_listening(address, int(port)) or process.poll() is not None, "mcrelay receive")
    return process


def ended(process):
    """Wait for a process; return (JSON or text, standard error, exit code)."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    return (json.loads(out) if out.startswith("{") else out), err, process.returncode


def sent(host, *arguments, device="eth0"):
    """The report of `mcrelay send --json`."""
    result = host.run(mcrelay("send", *arguments, "--interface", device, "--json"))
    return json.loads(result.stdout)


@contextmanager
def tapped(host):
    """A packet socket that receives every IPv4 frame that arrives on the host's eth0."""
    with host.enter_namespace():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    with tap:
        tap.bind(("eth0", ETH_P_IP))
        tap.settimeout(TIMEOUT_S)
        yield tap


def test_every_packet_is_received_once_and_in_order(hosts):
    sender, receiver = hosts
    process = listening(receiver, GROUP, "--expect", "20000", "--idle", "0.5", "--json")
    report = sent(
        sender, GROUP, "--rate", "20000", "--count", "20000", "--dscp", "46", "--source", "10.1.0.3"
    )
    result, _, code = ended(process)
    assert code == 0
    assert result["ended"] == "idle"
    assert result["ok"]
    assert report["packets"] == report["flows"][0]["packets"] == 20000
    (flow,) = result["flows"]
    expected = {
        "destination": "239.1.1.1", "port": 5001, "source": "10.1.0.3", "source_port": report["source_port"],
        "flow": report["flows"][0]["flow"], "received": 20000, "lost": 0, "duplicated": 0, "reordered": 0,
        "corrupt": 0, "foreign": 0, "octets": 20000 * 1400, "ttl": [1], "dscp": [46],
        "first_sequence": 0, "last_sequence": 19999,
    }  # fmt: skip
    assert {key: flow[key] for key in expected} == expected
    assert 0 < flow["latency_us"]["min"] <= flow["latency_us"]["p50"] <= flow["latency_us"]["max"]


def test_several_groups_and_a_host_are_sent_to_evenly(hosts):
    sender, receiver = hosts
    destinations = [GROUP, "239.1.1.2:5001", "239.1.1.1:5002", "10.1.0.2:5001"]
    process = listening(
        receiver, *destinations, "--expect", "300", "--count", "1200", "--json", destination="10.1.0.2:5001"
    )
    report = sent(sender, *destinations, "--rate", "1000", "--count", "300", "--size", "100")
    result, _, code = ended(process)
    assert (code, result["ended"], result["total"]["received"]) == (0, "count", 1200)
    assert [flow["ttl"] for flow in result["flows"]] == [[1], [1], [1], [64]]
    assert {flow["received"] for flow in result["flows"]} == {300}
    assert [flow["flow"] for flow in result["flows"]] == [flow["flow"] for flow in report["flows"]]


def test_more_groups_than_one_socket_can_join_are_received(hosts):
    sender, receiver = hosts
    groups = [f"239.1.2.{number}" for number in range(1, 101)]
    process = listening(
        receiver, *groups, "--port", "5001", "--expect", "5", "--count", "500", destination="239.1.2.100:5001"
    )
    sent(sender, *groups, "--port", "5001", "--rate", "50", "--count", "5")
    text, _, code = ended(process)
    assert code == 0, text
    assert "all 100 flows" in text


def test_loss_is_reported_and_is_a_failure(hosts):
    sender, receiver = hosts
    process = listening(receiver, GROUP, "--expect", "100", "--idle", "0.3")
    sent(sender, GROUP, "--count", "97", "--rate", "1000")
    text, _, code = ended(process)
    assert code == 1
    assert re.search(r"97 packets in \d+\.\d s: none lost", text)
    assert text.endswith("PROBLEM  239.1.1.1:5001: 97 of 100 expected packets arrived\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_end_with_their_result_on_a_signal(hosts, number):
    sender, receiver = hosts
    receiving = listening(receiver, GROUP, "--json")
    sending = sender.start(mcrelay("send", GROUP, "--interface", "eth0", "--rate", "500", "--json"))
    wait_until(lambda: receiver.counter("InMcastPkts") > 5, "multicast", TIMEOUT_S)
    sending.send_signal(number)
    report, _, code = ended(sending)
    assert (code, report["ended"]) == (0, "signal")
    receiving.send_signal(number)
    result, err, code = ended(receiving)
    assert (code, result["ended"], result["total"]["received"]) == (0, "signal", report["packets"])
    assert "Traceback" not in err


def test_the_absence_of_packets_is_reported(hosts):
    text, err, code = ended(listening(hosts[1], GROUP, "--duration", "0.2"))
    assert code == 1
    assert re.fullmatch(r"No packet in \d\.\d s\.\nPROBLEM  239\.1\.1\.1:5001: nothing arrived\n", text)
    assert err == "listening on 239.1.1.1:5001; Ctrl-C to end\n"


def test_a_terminal_shows_the_progress(hosts):
    sender, receiver = hosts
    terminal, stderr = os.openpty()
    command = mcrelay("receive", GROUP, "--interface", "eth0", "--idle", "0.5")
    receiving = receiver.start(command, stderr=stderr)
    wait_until(lambda: receiver.is_listening("239.1.1.1", 5001), "mcrelay receive")
    sent(sender, GROUP, "--rate", "100", "--count", "300")
    receiving.wait(TIMEOUT_S)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    os.close(stderr)
    assert re.search(r"\r +\d+ s   \d+ packets   1 flows   0 lost\x1b\[K", shown)
    assert shown.endswith("\r\x1b[K"), "and leaves no trace of it"


def test_foreign_traffic_is_counted(hosts):
    sender, receiver = hosts
    process = listening(receiver, GROUP, "--count", "3", "--json")
    with sender.enter_namespace():
        plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with plain:
        plain.bind(("10.1.0.1", 4711))
        plain.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.1.0.1"))
        plain.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 9)
        for payload in (b"", b"hello", bytes(1400)):
            plain.sendto(payload, ("239.1.1.1", 5001))
    result, _, code = ended(process)
    (flow,) = result["flows"]
    assert code == 0
    assert (flow["foreign"], flow["received"], flow["octets"], flow["ttl"]) == (3, 0, 1405, [9])
    assert (flow["source"], flow["source_port"], flow["flow"]) == ("10.1.0.1", 4711, None)


def test_only_the_joined_source_is_received(hosts):
    sender, receiver = hosts
    process = listening(
        receiver, "232.1.1.1:5001", "--sources", "10.1.0.1", "--idle", "0.5", "--json",
        destination="232.1.1.1:5001",
    )  # fmt: skip
    sent(sender, "232.1.1.1:5001", "--count", "20", "--rate", "1000", "--source", "10.1.0.3")
    sent(sender, "232.1.1.1:5001", "--count", "30", "--rate", "1000", "--source", "10.1.0.1")
    result, _, code = ended(process)
    assert code == 0
    assert [(flow["source"], flow["received"]) for flow in result["flows"]] == [("10.1.0.1", 30)]


def test_a_group_that_only_another_socket_joined_is_not_received(hosts):
    sender, receiver = hosts
    other = listening(receiver, "239.1.1.1:5001", "--json")
    process = listening(receiver, "239.1.1.2:5001", "--duration", "1", "--json", destination="239.1.1.2:5001")
    sent(sender, GROUP, "--count", "20", "--rate", "1000")
    result, _, code = ended(process)
    assert (code, result["total"]["packets"]) == (1, 0)
    other.send_signal(signal.SIGINT)
    assert ended(other)[0]["total"]["received"] == 20


def test_socket_drops_are_distinguished_from_loss(hosts):
    sender, receiver = hosts
    process = listening(receiver, GROUP, "--idle", "0.5", "--json")
    process.send_signal(signal.SIGSTOP)
    # The buffer holds about 58,000 packets of 1400 octets.
    sent(sender, GROUP, "--count", "100000", "--rate", "100000", "--segments")
    process.send_signal(signal.SIGCONT)
    result, _, code = ended(process)
    total = result["total"]
    assert code == 1
    assert total["socket_drops"] > 0
    assert total["received"] + total["socket_drops"] == 100_000
    assert any("this receiver was too slow" in problem for problem in result["problems"])


@pytest.mark.parametrize("options", [(), ("--segments",)])
def test_packets_are_single_datagrams_on_the_wire(hosts, options):
    sender, receiver = hosts
    with tapped(receiver) as tap:
        sent(sender, GROUP, "--count", "50", "--rate", "max", "--size", "1000", "--ttl", "5", *options)
        frames = [tap.recv(65536) for _ in range(50)]
    assert {(len(frame), frame[TTL_OCTET]) for frame in frames} == {(1028, 5)}


def test_segments_arrive_like_other_packets(hosts):
    sender, receiver = hosts
    process = listening(receiver, GROUP, "--expect", "10000", "--idle", "0.5", "--json")
    sent(sender, GROUP, "--count", "10000", "--rate", "50000", "--segments")
    result, _, code = ended(process)
    assert (code, result["total"]["received"]) == (0, 10000)


def test_segments_larger_than_the_mtu_are_sent_one_by_one_in_fragments(hosts):
    sender, receiver = hosts
    process = listening(receiver, GROUP, "--count", "20", "--json")
    command = mcrelay(
        "send", GROUP, "--interface", "eth0", "--count=20", "--rate=max", "--size=3000", "--segments"
    )
    note = sender.run(command).stderr
    assert note == "mcrelay send: note: 3000 bytes exceed the MTU of eth0 (1500): sending fragments\n"
    result, _, code = ended(process)
    assert (code, result["total"]["received"], result["total"]["octets"]) == (0, 20, 60000)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("send", "239.1.1.1"), 2, "239.1.1.1 needs a port: give 239.1.1.1:5001 or --port"),
        (("send", GROUP, "-i", "eth9"), 2, "this host has no device eth9; its devices are: lo, eth0"),
        (("send", GROUP), 1, "no route to 239.1.1.1: give a device with --interface"),
        (("send", GROUP, "--source", "10.9.9.9"), 2,
         "10.9.9.9 is not an address of this host: see `ip address`"),
        (("send", GROUP, "239.1.1.2:1", "--segments"), 2, "--segments works with one GROUP only"),
        (("receive", "239.1.1.1"), 2, "239.1.1.1 needs a port: give 239.1.1.1:5001 or --port"),
        (("receive", GROUP, "-i", "eth9"), 2, "this host has no device eth9; its devices are: lo, eth0"),
        (("receive", GROUP), 2, "no route to 239.1.1.1: give a device with --interface"),
        (("receive", "10.9.9.9:1"), 2,
         "10.9.9.9 is not an address of this host: see `ip address`"),
        (("receive", "10.1.0.1:1", "--sources", "10.1.0.2"), 2,
         "--sources is for multicast groups, and 10.1.0.1 is not one"),
    ],
)  # fmt: skip
def test_an_impossible_request_is_reported_with_what_to_do(hosts, arguments, code, message):
    result = hosts[0].run(mcrelay(*arguments), check=False)
    assert result.returncode == code
    assert result.stderr == f"mcrelay {arguments[0]}: {message}\n"


def test_a_device_that_is_down_is_reported_as_the_reason(hosts):
    hosts[0].ip("link set eth0 down")
    result = hosts[0].run(mcrelay("send", GROUP, "-i", "eth0", "--count", "1"), check=False)
    assert result.returncode == 1
    assert re.fullmatch(r"mcrelay send: .*(device is down|no route to).*\n", result.stderr)


def test_a_port_of_another_program_is_reported_as_in_use(hosts):
    with hosts[1].enter_namespace():
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        other.bind(("10.1.0.2", 5001))
        result = hosts[1].run(mcrelay("receive", "10.1.0.2:5001"), check=False)
    assert result.returncode == 2
    assert result.stderr == "mcrelay receive: 10.1.0.2:5001 is in use by another program: see `ss -ulpn`\n"


@pytest.mark.parametrize("verb", [("send", GROUP, "--source-port", "99"), ("receive", "10.1.0.1:99")])
def test_a_privileged_port_is_not_permitted_without_the_capability(hosts, verb):
    without = ["setpriv", "--bounding-set=-net_bind_service"]
    result = hosts[0].run([*without, *mcrelay(*verb)], check=False)
    assert result.returncode == 4
    assert result.stderr == f"mcrelay {verb[0]}: not permitted: port 99 needs CAP_NET_BIND_SERVICE\n"
