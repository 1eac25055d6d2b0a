"""What comes back to the relay's ports is counted, and no other program loses a packet to them.

ICMP errors make send errors of packets that were sent; answers are counted for the output that asked.
"""

import json
import socket
import struct

import pytest

from mcrelay.lab import Receiver, report_of
from mcrelay.lab.command import wait_until
from tests.support.packets import checksum

pytestmark = pytest.mark.planes("userspace")

TO_HOST = (
    "feed: {{input: {{interface: studio, group: 239.1.1.1, port: 5001}},"
    " outputs: [{{interface: left, address: 10.2.0.2, port: 6001{}}}]}}"
)
TO_GROUP = (
    "feed: {{input: {{interface: studio, group: 239.1.1.1, port: 5001}},"
    " outputs: [{{interface: left, group: 239.2.2.2, port: 6001{}}}]}}"
)
CLOSED_PORT = (
    "output left to 10.2.0.2:6001: icmp_port_unreachable, no program listens at this port of the host:"
    " start the receiver, or correct `port`"
)


def rule_of(relay):
    (rule,) = json.loads(relay.ask("status", "--json").stdout)["rules"]
    return rule


def output_of(relay):
    (output,) = rule_of(relay)["outputs"]
    return output


def outputs_of(relay):
    return rule_of(relay)["outputs"]


def await_reason(relay, reason):
    wait_until(lambda: rule_of(relay)["reason"] == reason, f"the reason {reason!r}")
    assert rule_of(relay)["state"] == "active"


def programs(host, *addresses, port, share=True):
    """Return UDP sockets of other programs on a host, each bound to one of the addresses."""
    opened = []
    with host.enter_namespace():
        for address in addresses:
            program = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, share)
            program.bind((address, port))
            program.settimeout(10)
            opened.append(program)
    return opened


def asker(host, group="239.2.2.2", port=6001):
    """Return two sockets of a host: a member of a group, and one that answers from the same port."""
    with host.enter_namespace():
        member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        member.bind((group, port))
        device = socket.if_nametoindex("eth0")
        request = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), device)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        member.settimeout(10)
        answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        answering.bind(("10.2.0.2", port))
    return member, answering


# ICMP errors.


@pytest.mark.parametrize("options", ["", ", source_port: 7001"])
def test_a_closed_port_is_told_counted_and_forgotten_when_the_receiver_starts(studio, options):
    with studio.relaying(TO_HOST.format(options)) as relay:
        studio.send("239.1.1.1:5001", 3, rate=10)
        await_reason(relay, CLOSED_PORT)
        wait_until(lambda: output_of(relay)["packets"] == 0, "the last ICMP error")
        output = output_of(relay)
        assert output["drops"]["send_error"] == {"icmp_port_unreachable": 3}
        assert output["octets"] == 0
        assert output["last_error"]["name"] == "icmp_port_unreachable"
        assert output["last_error"]["age"] < 60
        done = relay.ask("status", "--exit-code")
        assert done.returncode == 5
        assert "icmp_port_unreachable" in " ".join(done.stdout.split())
        assert "last send error" in relay.ask("status", "feed").stdout
        receiver = Receiver(studio.left, "10.2.0.2:6001")
        studio.send("239.1.1.1:5001", 20, rate=1000)
        assert receiver.report().received == 20
        await_reason(relay, "")
        assert relay.ask("status", "--exit-code").returncode == 0
        assert output_of(relay)["packets"] == 20


def test_several_workers_count_an_icmp_error_once(studio):
    config = "workers: 3\n" + studio.config(TO_HOST.format(""))
    with studio.daemon(config) as relay:
        for number in range(4):
            studio.send("239.1.1.1:5001", 1, source="192.168.168.55")
            wait_until(
                lambda number=number: (
                    output_of(relay)["drops"]["send_error"] == {"icmp_port_unreachable": number + 1}
                ),
                "the ICMP error",
            )
        assert output_of(relay)["packets"] == 0


@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        (3, 0, "icmp_net_unreachable"),
        (3, 1, "icmp_host_unreachable"),
        (3, 4, "icmp_fragmentation_needed"),
        (3, 13, "icmp_prohibited"),
        (11, 0, "icmp_ttl_exceeded"),
        (12, 0, "icmp_other"),
    ],
)
def test_each_kind_of_icmp_error_has_its_name(studio, kind, code, name):
    with studio.left.enter_namespace():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    wire.settimeout(10)
    (listener,) = programs(studio.left, "10.2.0.2", port=6001)
    with listener, studio.relaying(TO_HOST.format("")) as relay:
        studio.send("239.1.1.1:5001", 1)
        packet = next(packet for packet in iter(lambda: wire.recv(2000), None) if packet[9] == 17)
        message = struct.pack("!BBHHH", kind, code, 0, 0, 1400) + packet[:200]
        raw.sendto(message[:2] + struct.pack("!H", checksum(message)) + message[4:], ("10.2.0.1", 0))
        wait_until(lambda: f": {name}, " in rule_of(relay)["reason"], "the reason")
        assert output_of(relay)["drops"]["send_error"] == {name: 1}
        assert output_of(relay)["packets"] == 0


def test_a_flood_of_icmp_errors_costs_no_packet_and_never_more_than_were_sent(studio):
    rule = TO_HOST.format(", source_port: 7001").replace("]}", ", {interface: left, group: 239.2.2.2}]}")
    with studio.left.enter_namespace():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    quoted = struct.pack("!BBHIBBH", 0x45, 0, 128, 0, 64, socket.IPPROTO_UDP, 0)
    quoted += (
        socket.inet_aton("10.2.0.1") + socket.inet_aton("10.2.0.2") + struct.pack("!4H", 7001, 6001, 108, 0)
    )
    message = struct.pack("!BBHI", 3, 3, 0, 0) + quoted
    forged = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    (listener,) = programs(studio.left, "10.2.0.2", port=6001)
    with listener, studio.relaying(rule) as relay:
        studio.send("239.1.1.1:5001", 100)
        wait_until(lambda: rule_of(relay)["input"]["packets"] == 100, "the packets")
        for _ in range(5000):
            raw.sendto(forged, ("10.2.0.1", 0))
        wait_until(lambda: outputs_of(relay)[0]["packets"] == 0, "the errors")
        left = Receiver(studio.left, "239.2.2.2:5001")
        sending = studio.start_sending("239.1.1.1:5001", 5000, rate=10_000)
        for _ in range(5000):
            raw.sendto(forged, ("10.2.0.1", 0))
        report_of(sending)
        report = left.report()
        to_host, to_group = outputs_of(relay)
    assert (report.received, report.is_flawless) == (5000, True)
    assert to_group["packets"] == 5100
    assert to_host["packets"] + to_host["drops"]["send_error"]["icmp_port_unreachable"] == 5100


def test_errors_of_routers_have_their_names(studio):
    studio.relay.ip("route add 10.9.0.0/16 via 10.2.0.2")
    studio.left.sysctl("net.ipv4.ip_forward", 1)
    studio.left.ip("route add 10.9.0.0/16 via 10.2.0.77")
    far = TO_HOST.format(", ttl: 1").replace("10.2.0.2", "10.9.0.2")
    with studio.relaying(far) as relay:
        studio.send("239.1.1.1:5001", 1)
        wait_until(lambda: "icmp_ttl_exceeded" in rule_of(relay)["reason"], "the reason")
        studio.left.ip("route delete 10.9.0.0/16")
        assert relay.reload(studio.config(far.replace("ttl: 1", "ttl: 9"))).startswith("applied")
        studio.send("239.1.1.1:5001", 1)
        wait_until(lambda: "icmp_net_unreachable" in rule_of(relay)["reason"], "the reason")
        assert output_of(relay)["packets"] == 0


# Answers.


@pytest.mark.parametrize("options", ["", ", source_port: 7001"])
def test_answers_are_counted_and_told_and_get_no_icmp_error(studio, options):
    member, answering = asker(studio.left)
    with studio.relaying(TO_GROUP.format(options)) as relay:
        assert output_of(relay)["answers"] == 0
        studio.send("239.1.1.1:5001", 1)
        _, source = member.recvfrom(2000)
        answering.connect(source)
        for _ in range(12):
            answering.send(b"here I am")  # raises ConnectionRefusedError after an ICMP error
        wait_until(lambda: output_of(relay)["answers"] == 12, "the answers")
        told = "12 answers came back to the relay's port: see `source: preserve`"
        assert told in " ".join(relay.ask("status", "feed").stdout.split())
        assert told in " ".join(relay.ask("status").stdout.split())
        assert rule_of(relay)["reason"] == ""


def test_an_answer_belongs_to_the_output_that_asked(studio):
    member, answering = asker(studio.left, "239.1.1.1", 6002)
    outputs = "[{interface: left, port: 6001}, {interface: left, port: 6002}, {interface: right}]"
    rule = f"feed: {{input: {{interface: studio, group: 239.1.1.1, port: 5001}}, outputs: {outputs}}}"
    with studio.relaying(rule) as relay:
        studio.send("239.1.1.1:5001", 1)
        _, source = member.recvfrom(2000)
        answering.sendto(b"here I am", source)
        wait_until(
            lambda: [output["answers"] for output in rule_of(relay)["outputs"]] == [0, 1, 0], "the answer"
        )


# Ports that other programs have, too.


@pytest.mark.parametrize("address", ["0.0.0.0", "10.2.0.1"])
@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("rule", [TO_GROUP, TO_HOST])
def test_a_program_at_the_port_of_an_output_gets_all_its_packets(studio, address, is_before, rule):
    opened = programs(studio.relay, address, port=5353) if is_before else []
    with studio.relaying(rule.format(", source_port: 5353")) as relay:
        assert rule_of(relay)["state"] == "active"
        (program,) = opened or programs(studio.relay, address, port=5353)
        studio.send("239.1.1.1:5001", 10)
        with studio.left.enter_namespace():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(10):
            sender.sendto(bytes([number]), ("10.2.0.1", 5353))
        assert [program.recv(100) for _ in range(10)] == [bytes([number]) for number in range(10)]


@pytest.mark.parametrize("address", ["0.0.0.0", "10.1.0.1"])
@pytest.mark.parametrize("is_before", [True, False])
def test_a_program_at_the_port_of_a_unicast_input_gets_all_its_packets(studio, address, is_before):
    opened = programs(studio.relay, address, port=5001) if is_before else []
    rule = (
        "feed: {input: {interface: studio, address: 10.1.0.1, port: 5001},"
        " outputs: [{interface: left, group: 239.2.2.2}]}"
    )
    studio.relay.sysctl("net.ipv4.conf.all.rp_filter", 0)
    studio.relay.sysctl("net.ipv4.conf.eth0.rp_filter", 0)
    studio.sender.ip("address add 10.1.0.2/24 dev eth0")
    with studio.relaying(rule) as relay:
        (program,) = opened or programs(studio.relay, address, port=5001)
        with studio.sender.enter_namespace():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(10):
            sender.sendto(bytes([number]), ("10.1.0.1", 5001))
        assert [program.recv(100) for _ in range(10)] == [bytes([number]) for number in range(10)]
        wait_until(lambda: rule_of(relay)["input"]["packets"] == 10, "the packets")


def test_a_port_that_another_program_does_not_share_is_a_reason_with_a_remedy(studio):
    (holder,) = programs(studio.relay, "10.2.0.1", port=7002, share=False)
    with studio.relaying(TO_HOST.format(", source_port: 7002")) as relay:
        wait_until(lambda: rule_of(relay)["state"] == "failed", "the state")
        reason = rule_of(relay)["reason"]
        assert "cannot send from 10.2.0.1 port 7002" in reason
        assert "another program has the port and does not share it (SO_REUSEADDR)" in reason
        assert "`ss -aunp sport = :7002`" in reason
        holder.close()
        wait_until(lambda: rule_of(relay)["state"] == "active", "the state")


# Groups.


@pytest.mark.parametrize(
    "routes",
    [
        ["route add 239.0.0.0/8 via 10.2.0.2"],
        ["route add prohibit 239.0.0.0/8"],
        ["route add blackhole 224.0.0.0/4"],
        ["route add unreachable 224.0.0.0/4"],
        ["route add 224.0.0.0/4 dev eth2"],
        ["route add default via 10.3.0.2"],
        ["rule add to 239.0.0.0/8 prohibit"],
        ["route add 239.0.0.0/8 via 10.3.0.2", "rule add to 239.0.0.0/8 blackhole"],
    ],
)
def test_a_group_leaves_by_its_device_to_its_own_mac(studio, routes):
    studio.relay.ip(*routes)
    with studio.left.enter_namespace():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        wire.bind(("eth0", 0x0800))
        wire.settimeout(10)
    with studio.relaying(TO_GROUP.format("")) as relay:
        studio.send("239.1.1.1:5001", 5)
        frames = []
        while len(frames) < 5:
            frame = wire.recv(2000)
            if frame[23] == socket.IPPROTO_UDP:
                frames.append(frame)
        assert {frame[:6].hex() for frame in frames} == {"01005e020202"}
        assert {socket.inet_ntoa(frame[30:34]) for frame in frames} == {"239.2.2.2"}
        wait_until(lambda: output_of(relay)["packets"] == 5, "the packets")
        assert rule_of(relay)["reason"] == ""
