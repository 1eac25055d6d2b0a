"""A packet is handled by the kernel plane or gets into a ring, never both and never neither."""

import select
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcrelay.kernel.layout import AddressKey
from mcrelay.lab import Lab
from mcrelay.linux.constants import SO_RCVBUFFORCE
from mcrelay.model.counters import LINKS, RULES
from tests.netns.support.kernel_bench import LINK_ROW, KernelBench, frame, output
from tests.support.packets import datagram

GROUP, PORT, RULE = "239.1.1.1", 5001, 1
SO_ATTACH_BPF = 50  # asm-generic/socket.h
ETH_P_ALL = 3  # linux/if_ether.h
NUMBER = struct.Struct("!I")


class RingBench(KernelBench):
    """The program, and the packet socket of a ring with its filter at the device `in`."""

    def __init__(self, host):
        super().__init__(host)
        self.ring = self.open_ring()

    def open_ring(self):
        """Return a packet socket with the filter, which gets nothing before it has the filter."""
        with self.network.enter_namespace():
            ring = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            ring.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, self.programs.ring_filter)
            ring.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            ring.bind((self.input.device, ETH_P_ALL))
        return ring

    def in_ring(self):
        """Return the frames that the ring has got."""
        frames = []
        while select.select([self.ring], [], [], 0)[0]:
            frames.append(self.ring.recv(4096))
        return frames

    def close(self):
        self.ring.close()
        super().close()


@pytest.fixture(scope="module")
def shared_bench():
    with Lab() as lab:
        bench = RingBench(lab.host("relay"))
        yield bench
        bench.close()


@pytest.fixture
def bench(shared_bench):
    shared_bench.reset()
    shared_bench.in_ring()
    return shared_bench


FLOW = frame(datagram(b"of the flow"))
UNKNOWN = frame(datagram(b"of no flow", ports=(4000, PORT + 1)))
FRAGMENT = frame(datagram(b"of no port", fragment=185))


def relayed(bench):
    """Return how many frames the program has sent, and the frames in the ring."""
    return len(bench.output.receive()), bench.in_ring()


def test_the_ring_gets_what_the_program_does_not_handle(bench):
    bench.receive(FLOW)
    assert relayed(bench) == (0, [FLOW])
    bench.set_flow(GROUP, PORT, [output(1)])
    for octets in (FLOW, UNKNOWN, FRAGMENT):
        bench.receive(octets)
    assert relayed(bench) == (1, [UNKNOWN])
    assert bench.counts(RULES, RULE)["fragment"] == 1


def test_each_packet_is_counted_once(bench):
    bench.set_flow(GROUP, PORT, [output(1)])
    for octets in (FLOW, UNKNOWN, FRAGMENT):
        bench.receive(octets)
    assert bench.counts(LINKS, LINK_ROW) == {"packets": 2, "octets": len(FLOW) + len(FRAGMENT)}


def test_a_flow_that_leaves_is_the_ring_s(bench):
    bench.set_flow(GROUP, PORT, [output(1)], is_leaving=True)
    bench.receive(FLOW)
    assert relayed(bench) == (0, [FLOW])


def test_a_flow_that_leaves_is_relayed_if_no_ring_decides(bench):
    bench.set_flow(GROUP, PORT, [output(1)], is_leaving=True)
    bench.ring.close()
    try:
        bench.receive(FLOW)
    finally:
        bench.ring = bench.open_ring()
    assert relayed(bench) == (1, [])


LISTED, UNLISTED = "192.168.168.55", frame(datagram(b"unlisted", addresses=(b"\x0a\0\0\1", b"\xef\1\1\1")))


def test_a_source_without_a_flow_is_refused_where_no_worker_relays_others(bench):
    bench.set_flow(GROUP, PORT, [output(1)], source=LISTED)
    bench.set_flow(GROUP, PORT, [], lists_sources=True)
    for octets in (FLOW, UNLISTED):
        bench.receive(octets)
    assert relayed(bench) == (1, [])
    assert bench.counts(RULES, RULE)["source"] == 1


def test_a_source_without_a_flow_is_the_ring_s_where_workers_relay_others(bench):
    bench.set_flow(GROUP, PORT, [output(1)], source=LISTED)
    bench.set_flow(GROUP, PORT, [], lists_sources=True, is_shared=True)
    for octets in (FLOW, UNLISTED):
        bench.receive(octets)
    assert relayed(bench) == (1, [UNLISTED])
    assert "source" not in bench.counts(RULES, RULE)


def test_a_listed_source_that_leaves_is_the_ring_s(bench):
    bench.set_flow(GROUP, PORT, [output(1)], source=LISTED, is_leaving=True)
    bench.set_flow(GROUP, PORT, [], lists_sources=True)
    bench.receive(FLOW)
    assert relayed(bench) == (0, [FLOW])


def test_what_a_ring_decided_before_the_device_had_the_program_concerns_no_equal_packet(bench):
    with bench.without_program():
        bench.receive(FLOW)
    assert relayed(bench) == (0, [FLOW])
    bench.maps.begin_epoch()
    bench.set_flow(GROUP, PORT, [output(1)])
    bench.receive(FLOW)
    assert relayed(bench) == (1, [])


def test_what_a_ring_that_was_closed_decided_without_the_program_concerns_no_equal_packet(bench):
    with bench.without_program():
        bench.receive(FLOW)
    bench.ring.close()
    try:
        bench.maps.begin_epoch()
        bench.set_flow(GROUP, PORT, [output(1)])
        bench.receive(FLOW)
        assert len(bench.output.receive()) == 1
    finally:
        bench.ring = bench.open_ring()


def test_what_a_ring_decided_before_it_was_closed_concerns_no_later_packet(bench):
    bench.receive(FLOW)
    bench.ring.close()
    try:
        bench.set_flow(GROUP, PORT, [output(1)])
        bench.receive(FLOW)
        assert len(bench.output.receive()) == 1
    finally:
        bench.ring = bench.open_ring()


def test_packets_to_hosts_get_into_the_ring_if_a_rule_wants_the_address(bench):
    unicast = frame(datagram(addresses=(b"\xc0\xa8\xa8\x37", b"\x0a\x01\x00\x01")))
    bench.receive(unicast)
    bench.maps.set_address(AddressKey(0, "10.1.0.1", 0), None)
    bench.receive(unicast)
    assert bench.in_ring() == [unicast]


def test_what_this_host_sends_gets_into_the_ring_only_to_chosen_groups(bench):
    with bench.network.enter_namespace():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind((bench.input.device, 0x0800))
    with sender:
        sender.send(FLOW)
        assert bench.in_ring() == []
        key = AddressKey(bench.input.ifindex, GROUP, 0)
        bench.maps.set_address(key, None, takes_outgoing=True)
        sender.send(FLOW)
        assert bench.in_ring() == [FLOW]


IN_FLIGHT = 200  # frames that the queue of a TAP device holds without doubt


def test_no_packet_is_lost_or_relayed_twice_while_its_flow_moves_to_and_fro(bench):
    numbers, is_over = [], threading.Event()

    def collect():
        numbers.extend(NUMBER.unpack(octets[-4:])[0] for octets in bench.output.receive())
        numbers.extend(NUMBER.unpack(octets[-4:])[0] for octets in bench.in_ring())

    def send():
        number = 0
        while not is_over.is_set():
            bench.receive(frame(datagram(NUMBER.pack(number))))
            number += 1
            if number - len(numbers) > IN_FLIGHT:
                collect()
        return number

    bench.set_flow(GROUP, PORT, [output(1)])
    with ThreadPoolExecutor() as threads:
        sent = threads.submit(send)
        try:
            for _ in range(20):
                bench.set_flow(GROUP, PORT, [output(1)], is_leaving=True)
                bench.maps.grace()
                for flow in bench.maps.flows():
                    bench.maps.delete_flow(flow)
                bench.set_flow(GROUP, PORT, [output(1)])
                bench.maps.reclaim()
        finally:
            is_over.set()
    collect()
    assert sorted(numbers) == list(range(sent.result()))
