"""The packet contract from end to end: datagrams on the wire, packets for the host itself, and counters."""

import os
import random
import signal
import socket
import struct

import pytest

from mcrelay.lab import Receiver, send
from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.lab.offload import switch_offload
from mcrelay.linux.constants import ETH_P_IP, SO_RCVBUFFORCE
from mcrelay.supervisor.privileged import RING_OCTETS
from tests.netns.support.frames import FOREIGN, GROUP, MORE_FRAGMENTS, PORT, Frame
from tests.netns.support.relay_observer import link_of, summary
from tests.netns.support.worker_harness import FEW, MANY, UdpListener, numbered_payloads

pytestmark = pytest.mark.planes("userspace", "kernel")

DONT_FRAGMENT = 0x4000
CHECKSUM_OFFLOAD = "tx-checksum-ip-generic"
LEFT, RIGHT = "left:239.2.2.2:6001", "right:239.2.2.2:6001"

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)


@pytest.fixture
def wire(studio):
    """A packet socket of the sender, which sends any octets as a frame."""
    with studio.sender.enter_namespace(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind(("eth0", 0))
        yield wire


# Datagrams on the wire.


def open_packet_socket(host):
    """Return a packet socket that receives the IP packets of a host unchanged."""
    with host.enter_namespace():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    wire.settimeout(TIMEOUT_S)
    return wire


def receive_datagram(wire):
    """Return the next UDP packet with its IP header."""
    while (packet := wire.recv(1 << 16))[9] != socket.IPPROTO_UDP:
        pass
    return packet


def sum_words(octets):
    """Return the ones' complement sum of RFC 1071, which is 0xFFFF if the checksum is valid."""
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def assert_headers(packet, *, source, tos, ttl, payload):
    """Check a datagram to 239.2.2.2:6001: these fields, no DF, no fragment, valid checksums."""
    version, found_tos, total, _, fragment, found_ttl, protocol = struct.unpack_from("!BBHHHBB", packet)
    assert (version, found_tos, found_ttl, protocol) == (0x45, tos, ttl, socket.IPPROTO_UDP)
    assert fragment == 0  # neither DF nor a fragment
    assert total == len(packet) == 28 + len(payload)
    assert packet[12:20] == socket.inet_aton(source) + socket.inet_aton("239.2.2.2")
    assert sum_words(packet[:20]) == 0xFFFF
    source_port, port, length, checksum = struct.unpack_from("!4H", packet, 20)
    assert source_port
    assert (port, length) == (6001, 8 + len(payload))
    assert checksum  # 0 means that there is no checksum
    pseudo_header = packet[12:20] + struct.pack("!HH", socket.IPPROTO_UDP, length)
    assert sum_words(pseudo_header + packet[20:]) == 0xFFFF
    assert packet[28:] == payload


@pytest.mark.parametrize("companions", [FEW, MANY])
def test_a_datagram_on_the_wire_has_the_headers_of_its_output(studio, wire, companions):
    rule = (
        "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: ["
        "{interface: left, group: 239.2.2.2, port: 6001, ttl: decrement, dscp: copy},"
        "{interface: right, group: 239.2.2.2, port: 6001, ttl: 7, dscp: 10}]}"
    )
    with studio.relay.enter_namespace():  # otherwise packets on a veth have no valid checksum
        for device in ("eth1", "eth2"):
            switch_offload(device, CHECKSUM_OFFLOAD, on=False)
    left, right = open_packet_socket(studio.left), open_packet_socket(studio.right)
    payloads = [
        payload[: 5 + 7 * number] for number, payload in enumerate(numbered_payloads(companions, 1472))
    ]
    with studio.relaying(rule):
        for payload in payloads:
            wire.send(bytes(Frame(payload=payload, ttl=33, tos=0xBB, fragment=DONT_FRAGMENT)))
        for payload in payloads:
            assert_headers(receive_datagram(left), source="10.2.0.1", tos=0xB8, ttl=32, payload=payload)
            assert_headers(receive_datagram(right), source="10.3.0.1", tos=10 << 2, ttl=7, payload=payload)


@pytest.mark.parametrize("at_sender", [True, False])
@pytest.mark.parametrize("at_relay", [True, False])
def test_checksums_are_valid_whether_or_not_a_device_computes_them(studio, at_sender, at_relay):
    for host, device, on in ((studio.sender, "eth0", at_sender), (studio.relay, "eth1", at_relay)):
        with host.enter_namespace():
            switch_offload(device, CHECKSUM_OFFLOAD, on=on)
    with studio.sender.enter_namespace(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.bind((FOREIGN, 0))
        sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FOREIGN))
        left = UdpListener(studio.left)
        equal = numbered_payloads(300, 1000)
        mixed = [
            payload[: 4 + 97 * number % 1468] for number, payload in enumerate(numbered_payloads(300, 1472))
        ]
        with studio.relaying(FEED):
            for payload in equal + mixed:
                sending.sendto(payload, (GROUP, PORT))
            assert left.receive_payloads(600) == equal + mixed


# Packets for the host itself.

ROUTABLE = "10.1.0.55"


def send_from_a_routable_source(studio, destination, count):
    return send(
        studio.sender,
        destination,
        *("--interface=eth0", f"--source={ROUTABLE}", f"--count={count}", "--rate=10000", "--size=500"),
    )


def test_a_listener_on_the_relay_host_still_gets_every_packet(studio):
    studio.sender.ip(f"address add {ROUTABLE}/24 dev eth0")
    with studio.relaying(FEED):
        local, left = Receiver(studio.relay, "239.1.1.1:5001"), Receiver(studio.left, "239.2.2.2:6001")
        send_from_a_routable_source(studio, "239.1.1.1:5001", 10_000)
        reports = local.report(), left.report()
    assert [report.received for report in reports] == [10_000, 10_000]
    assert all(report.is_flawless for report in reports)
    # The sockets of the relay received no packet.
    assert [report.received_from for report in reports] == [{ROUTABLE: 10_000}, {"10.2.0.1": 10_000}]


def test_a_group_that_only_another_process_joined_is_not_relayed(studio):
    studio.sender.ip(f"address add {ROUTABLE}/24 dev eth0")
    with studio.relaying(FEED) as relay:
        foreign = Receiver(studio.relay, "239.1.1.9:5001")
        left = Receiver(studio.left, "239.2.2.2:6001")
        send_from_a_routable_source(studio, "239.1.1.9:5001", 5000)
        send_from_a_routable_source(studio, "239.1.1.1:5001", 1000)
        assert foreign.report().received == 5000
        report, counted = left.report(), summary(relay)
    assert report.received == 1000
    assert report.is_flawless
    (link,) = counted.links.values()
    assert (link.packets, link.drops) == (6000, {"no_rule": 5000})


# Counters.


def test_packets_of_the_relay_that_a_bridge_returns_are_counted_as_own(studio, echo):
    echo.viewer.sysctl("net.ipv4.conf.all.rp_filter", 0)  # so that it receives from both networks
    echo.viewer.sysctl("net.ipv4.conf.eth0.rp_filter", 0)
    with studio.daemon(echo.config) as relay:
        seen = Receiver(echo.viewer, "239.1.1.1:5001")
        send(echo.source, "239.1.1.1:5001", "--interface=eth0", "--count=5000", "--rate=5000")
        report, counted = seen.report(), summary(relay)
    assert report.received_from == {"192.168.168.55": 5000, "10.9.0.3": 5000}
    assert report.is_flawless
    assert (counted.rules["echo"].packets, counted.rules["echo"].drops) == (5000, {"own": 5000})
    assert counted.outputs["echo", "other:239.1.1.1:5001"].packets == 5000


KINDS = {
    "relayed": Frame(payload=b"good", ttl=9),
    "expired": Frame(payload=b"old", ttl=1),
    "first fragment": Frame(fragment=MORE_FRAGMENTS),
    "later fragment": Frame(fragment=100),
    "short": Frame(total=27),
    "header length": Frame(header_words=4),
    "UDP length": Frame(udp_length=7),
    "truncated": Frame(total=1000),
    "foreign source": Frame(source="10.0.0.66"),
    "no rule": Frame(port=PORT + 1),
    "tagged": Frame(vlan=5),
    "fragment without a rule": Frame(destination="239.1.1.9", fragment=100),
}


def test_every_packet_is_counted_as_relayed_or_under_a_drop_reason(studio, wire):
    rule = (
        "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001, sources: [192.168.168.55]},"
        " outputs: ["
        "{interface: left, group: 239.2.2.2, port: 6001, ttl: decrement},"
        "{interface: right, group: 239.2.2.2, port: 6001}]}"
    )
    sent = {kind: 10 * number for number, kind in enumerate(KINDS, start=1)}
    frames = [KINDS[kind] for kind, count in sent.items() for _ in range(count)]
    random.Random(1).shuffle(frames)
    left = UdpListener(studio.left)
    studio.relay.ip("link set eth2 down")
    with studio.relaying(rule) as relay:
        for frame in map(bytes, frames):
            wire.send(frame)
        left.receive(sent["relayed"])
        wait_until(lambda: link_of(relay).packets == len(frames), "all packets counted")
        counted = summary(relay)
    (link,) = counted.links.values()
    feed, to_left, to_right = (
        counted.rules["feed"],
        counted.outputs["feed", LEFT],
        counted.outputs["feed", RIGHT],
    )
    relayed = sent["relayed"] + sent["expired"]
    assert feed.packets == relayed
    assert feed.drops == {
        "fragment": sent["first fragment"] + sent["later fragment"],
        "malformed": sum(sent[kind] for kind in ("short", "header length", "UDP length", "truncated")),
        "source": sent["foreign source"],
    }
    assert link.drops == {
        "no_rule": sent["no rule"] + sent["tagged"],
        "fragment": sent["fragment without a rule"],
    }
    assert (to_left.packets, to_left.drops) == (sent["relayed"], {"ttl": sent["expired"]})
    assert to_right.packets == 0
    assert to_right.drops.keys() <= ({"ENETDOWN", "ENETUNREACH"} if studio.has_workers else {"link_down"})
    assert to_left.total == to_right.total == feed.packets
    assert link.packets == feed.total + sum(link.drops.values()) == len(frames)


@pytest.mark.planes("userspace")
def test_packets_that_do_not_fit_a_full_ring_are_counted(studio, wire):
    room, beyond = RING_OCTETS // 2048, 1000
    left = UdpListener(studio.left)
    with studio.relaying(FEED) as relay:
        (worker,) = relay.workers()
        os.kill(worker, signal.SIGSTOP)
        for number in range(room + beyond):
            wire.send(bytes(Frame(payload=struct.pack("!I", number))))
        os.kill(worker, signal.SIGCONT)
        received = left.receive_payloads(room)
        wait_until(lambda: link_of(relay).total == room + beyond, "all packets counted")
        link = link_of(relay)
    assert received == numbered_payloads(room, 4)
    assert (link.packets, link.drops) == (room, {"overrun": beyond})
