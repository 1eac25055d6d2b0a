"""The kernel plane between sockets: senders with offloads, receivers of groups and hosts, the host."""

import json
import socket
import struct

import pytest

from mcrelay.kernel import links
from mcrelay.kernel.layout import KernelOutput, KernelRoute, group_mac
from mcrelay.kernel.loader import load_programs
from mcrelay.kernel.maps import KernelMaps, create_maps, possible_cpus
from mcrelay.lab.offload import switch_offload
from mcrelay.linux.constants import UDP_SEGMENT
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.state import Flow
from tests.netns.support.worker_harness import UdpListener

GROUP, PORT, SOURCE = "239.1.1.1", 5001, "192.168.168.55"
SEGMENT = 1000


class VethRelay:
    """The program at eth0 of the relay; `outputs` send from eth1 to the left network."""

    def __init__(self, studio):
        self.maps = KernelMaps(create_maps(possible_cpus()), possible_cpus())
        with studio.relay.enter_namespace():
            self.eth0, self.eth1 = map(socket.if_nametoindex, ("eth0", "eth1"))
            self._link = links.create(load_programs(self.maps.descriptors).ingress, self.eth0)
        self._mac, self._receiver = mac(studio.relay, "eth1"), mac(studio.left, "eth0")
        for table in (LINKS, RULES, OUTPUTS):
            self.maps.ensure_cells(table, 0)

    def relay_to(self, *destinations, is_exclusive=False):
        outputs = tuple(self._output(destination) for destination in destinations)
        self.maps.set_flow(
            Flow(self.eth0, GROUP, PORT), KernelRoute(0, 0, outputs, is_exclusive=is_exclusive)
        )

    def _output(self, destination):
        to = group_mac(destination) if destination >= "224" else self._receiver
        macs = {"destination_mac": to, "source_mac": self._mac}
        return KernelOutput(
            self.eth1, 0, "10.2.0.1", 40_000, destination, 6001, **macs, mtu=1500, ttl=9, dscp="copy"
        )


def mac(host, device):
    [link] = json.loads(host.run(["ip", "-json", "link", "show", "dev", device]).stdout)
    return bytes.fromhex(link["address"].replace(":", ""))


@pytest.fixture
def relay(studio):
    return VethRelay(studio)


@pytest.fixture
def sender(studio):
    with studio.sender.enter_namespace():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((SOURCE, 4000))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(SOURCE))
        sender.connect((GROUP, PORT))
    with sender:
        yield sender


@pytest.fixture
def host(studio):
    """A socket of a program on the relay's host, which hears the group."""
    for name in ("all", "eth0"):
        studio.relay.sysctl(f"net.ipv4.conf.{name}.rp_filter", 0)
    return UdpListener(studio.relay, GROUP, PORT)


@pytest.mark.parametrize("device_sums", [True, False], ids=["offload", "no offload"])
def test_a_group_and_a_host_get_each_packet_and_so_does_the_relay_s_host(
    studio, relay, sender, host, left, device_sums
):
    for end, device in ((studio.sender, "eth0"), (studio.relay, "eth1")):
        with end.enter_namespace():
            switch_offload(device, "tx-checksum-ip-generic", on=device_sums)
    unicast = UdpListener(studio.left, "10.2.0.2")
    relay.relay_to("239.2.2.2", "10.2.0.2")
    payloads = [bytes([number]) * size for number, size in enumerate((0, 1, 2, 511, 512, 513, 1400, 1472))]
    for payload in payloads:
        sender.send(payload)
    for listener in (left, unicast, host):
        assert listener.receive_payloads(len(payloads)) == payloads


def test_the_host_does_not_hear_an_exclusive_flow(relay, sender, host, left):
    relay.relay_to("239.2.2.2", is_exclusive=True)
    sender.send(b"payload")
    assert left.receive_payloads(1) == [b"payload"]
    relay.relay_to("239.2.2.2")
    sender.send(b"the next one")
    assert host.receive_payloads(1) == [b"the next one"]


@pytest.mark.parametrize("cuts", ["the sender", "the relay"])
def test_the_datagrams_of_a_segmented_message_arrive_one_by_one(studio, relay, sender, left, cuts):
    for end, device, on in ((studio.sender, "eth0", cuts == "the relay"), (studio.relay, "eth1", False)):
        with end.enter_namespace():
            switch_offload(device, "tx-udp-segmentation", on=on)
    relay.relay_to("239.2.2.2", "239.2.2.2")
    message = b"".join(bytes([number]) * SEGMENT for number in range(10)) + b"the last one"
    sender.sendmsg([message], [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", SEGMENT))])
    parts = [message[at : at + SEGMENT] for at in range(0, len(message), SEGMENT)]
    assert sorted(left.receive_payloads(22)) == sorted(2 * parts)
