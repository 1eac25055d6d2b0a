"""Frames whose octets the device has added up (CHECKSUM_COMPLETE), as network cards do, and here VXLAN."""

import socket
import struct

import pytest

from mcrelay.kernel.layout import KernelRoute
from mcrelay.lab import Lab
from mcrelay.lab.offload import switch_offload
from mcrelay.linux.traffic_control import add_clsact, set_bpf_classifier
from mcrelay.model.counters import OUTPUTS, RULES
from mcrelay.model.state import Flow
from tests.netns.support.kernel_bench import LINK_ROW, KernelBench, frame, identification, output, sent
from tests.support import bpf_programs
from tests.support.packets import datagram

GROUP, PORT, RULE = "239.1.1.1", 5001, 1
VXLAN = struct.pack("!II", 0x08000000, 5 << 8)  # with the number of the network
TUNNEL = ("10.1.0.1", 4789)
PAYLOAD = bytes(range(256)) * 4 + b"odd"


class Tunnel:
    """A bench whose flow comes in at a VXLAN device. Its program gets frames with such a sum only."""

    def __init__(self, lab):
        sender, relay = lab.host("sender"), lab.host("relay")
        lab.link(sender.end("eth0", "10.1.0.2/24"), relay.end("eth0", "10.1.0.1/24"))
        relay.ip("link add vx type vxlan id 5 dstport 4789 dev eth0", "link set vx up")
        with sender.enter_namespace():
            switch_offload("eth0", "tx-checksum-ip-generic", on=False)
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bench = KernelBench(relay)
        tests = [
            bpf_programs.remember_sum(),
            bpf_programs.compare_sum(),
            bpf_programs.copy(self.bench.host.ifindex),
        ]
        before, after, copy = map(bpf_programs.load, tests)
        with relay.enter_namespace():
            self.ifindex = socket.if_nametoindex("vx")
            add_clsact(self.ifindex)
            for priority, program in enumerate((before, self.bench.programs.ingress, after, copy), start=1):
                set_bpf_classifier(self.ifindex, f"test-{priority}", program, priority)
        self.bench.maps.set_link(self.ifindex, LINK_ROW)

    def set_flow(self, outputs):
        outputs = self.bench.set_flow(GROUP, PORT, outputs)
        self.bench.maps.set_flow(Flow(self.ifindex, GROUP, PORT, None), KernelRoute(RULE, LINK_ROW, outputs))
        return outputs

    def receive(self, octets):
        self._socket.sendto(VXLAN + octets, TUNNEL)

    def close(self):
        self._socket.close()
        self.bench.close()


@pytest.fixture(scope="module")
def shared_tunnel():
    with Lab() as lab:
        tunnel = Tunnel(lab)
        yield tunnel
        tunnel.close()


@pytest.fixture
def tunnel(shared_tunnel):
    shared_tunnel.bench.reset()
    return shared_tunnel


def packets():
    yield "whole", datagram(PAYLOAD, damage=0)
    yield "none", datagram(PAYLOAD)
    yield "padding", datagram(b"short", damage=0, trailer=b"\xa5" * 18)
    yield "options", datagram(PAYLOAD, damage=0, options=bytes(8))


@pytest.mark.parametrize("packet", [packet for _, packet in packets()], ids=[name for name, _ in packets()])
def test_outputs_and_host_get_what_they_should_and_the_sum_stays_right(tunnel, packet):
    outputs = tunnel.set_flow([output(1), output(2, dscp=10)])
    tunnel.receive(frame(packet))
    frames = tunnel.bench.output.receive()
    payload = b"short" if b"short" in packet else PAYLOAD
    assert frames == [
        sent(one, payload, identification=identification(got))
        for one, got in zip(outputs, frames, strict=True)
    ]
    assert tunnel.bench.host.receive() == [frame(packet)]  # unless its sum is another
    assert tunnel.bench.counts(OUTPUTS, 1) == {"packets": 1, "octets": len(payload)}


def test_a_wrong_checksum_is_found(tunnel):
    tunnel.set_flow([output(1)])
    packet = datagram(PAYLOAD, damage=1)
    tunnel.receive(frame(packet))
    assert tunnel.bench.output.receive() == []
    assert tunnel.bench.counts(RULES, RULE) == {"malformed": 1}
    assert tunnel.bench.host.receive() == [frame(packet)]
