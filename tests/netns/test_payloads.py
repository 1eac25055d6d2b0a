"""Payloads of any size arrive complete and unchanged, with any MTU of the input and of the output."""

import hashlib
import random
import socket

import pytest

from mcrelay.lab import Receiver
from tests.netns.support.frames import FOREIGN, GROUP, PORT
from tests.netns.support.worker_harness import UdpListener

pytestmark = pytest.mark.planes("userspace", "auto")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
JUMBO = 9216  # octets: a usual limit of switches
MAX_MTU = 65535  # octets: of a veth, and of IPv4
MAX_PAYLOAD = 65507  # octets: of UDP over IPv4
ROUND = 500  # datagrams sent before they are received: few enough for every buffer, so that none is lost


def set_mtu_in(studio, mtu):
    """Set the MTU of the link from the sender to the relay."""
    for host in (studio.sender, studio.relay):
        host.ip(f"link set eth0 mtu {mtu}")


def set_mtu_out(studio, mtu):
    """Set the MTU of the link from the relay to the left network."""
    studio.relay.ip(f"link set eth1 mtu {mtu}")
    studio.left.ip(f"link set eth0 mtu {mtu}")


@pytest.fixture
def sending(studio):
    """A UDP socket of the sender, bound to an address that no router knows."""
    with studio.sender.enter_namespace(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FOREIGN))
        sending.bind((FOREIGN, 0))
        yield sending


@pytest.mark.parametrize(("size", "mtu_out"), [(9000, 1500), (9000, JUMBO), (JUMBO - 28, JUMBO)])
def test_jumbo_payloads_arrive_complete_with_and_without_fragments(studio, size, mtu_out):
    set_mtu_in(studio, JUMBO)
    set_mtu_out(studio, mtu_out)
    with studio.relaying(FEED):
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=2000, rate=4000, size=size)
        report = left.report()
    assert report.received == 2000
    assert report.is_flawless


@pytest.mark.parametrize("mtu_out", [1500, MAX_MTU])
def test_payloads_of_every_size_class_arrive_unchanged(studio, sending, mtu_out):
    set_mtu_in(studio, MAX_MTU)
    set_mtu_out(studio, mtu_out)
    edges = [near + step for near in (1472, 2048, 8972, 16384, 32768) for step in (-1, 0, 1)]
    sizes = [0, 1, 2, 3, *edges, *range(4, MAX_PAYLOAD, 997), MAX_PAYLOAD - 1, MAX_PAYLOAD]
    payloads = [random.Random(size).randbytes(size) for size in sizes]
    left = UdpListener(studio.left)
    with studio.relaying(FEED):
        for first in range(0, len(payloads), 20):
            for payload in payloads[first : first + 20]:
                sending.sendto(payload, (GROUP, PORT))
            assert left.receive_payloads(len(payloads[first : first + 20])) == payloads[first : first + 20]


def test_fifty_megabytes_have_the_same_hash_at_both_ends(studio, sending):
    dice = random.Random(50)
    octets = memoryview(dice.randbytes(50_000_000))
    left, arrived, count = UdpListener(studio.left), hashlib.sha256(), 0
    with studio.relaying(FEED):
        while count < len(octets):
            payloads = []
            while len(payloads) < ROUND and count < len(octets):
                # Runs of equal sizes as in a stream, and sizes that change from packet to packet.
                sizes = [1400] * 64 if dice.random() < 0.1 else [dice.randint(1, 1472)]
                for size in sizes:
                    payloads.append(octets[count : count + size])
                    count += size
            for payload in payloads:
                sending.sendto(payload, (GROUP, PORT))
            for payload in left.receive_payloads(len(payloads)):
                arrived.update(payload)
    assert arrived.hexdigest() == hashlib.sha256(octets).hexdigest()
