"""Every output of a worker gets all payloads in order, whatever happens at the other outputs."""

import socket
import struct

import pytest

from mcrelay.lab.offload import switch_offload
from mcrelay.linux.constants import ETH_P_IP
from mcrelay.worker.egress import MAX_PAYLOADS
from tests.netns.support.frames import Frame, frames_of
from tests.netns.support.worker_harness import FEW, MANY, UdpListener, numbered_payloads


def test_each_output_of_a_fan_out_gets_all_payloads_in_order_with_any_sizes(harness, studio, left, right):
    unicast = UdpListener(studio.right, "10.3.0.2", 6003)
    harness.apply(
        *harness.rule_actions(harness.to_left(), harness.to_right(), harness.to_right("10.3.0.2", 6003))
    )
    payloads = [
        payload[: 4 + 97 * number % 1400] for number, payload in enumerate(numbered_payloads(400, 1472))
    ]
    harness.relay(*frames_of(payloads))
    for listener in (left, right, unicast):
        assert listener.receive_payloads(400) == payloads


def test_a_fan_out_of_more_than_one_round_of_system_calls_loses_nothing(harness, studio):
    outputs = [harness.to_left(port=7000 + number) for number in range(50)]
    listeners = [UdpListener(studio.left, port=7000 + number) for number in range(50)]
    harness.apply_rule(*outputs)
    payloads = [payload[: 100 + number] for number, payload in enumerate(numbered_payloads(100, 200))]
    assert (
        len(outputs) * len(payloads) > 2 * MAX_PAYLOADS
    )  # each longer than the one before: a message of its own
    harness.relay(*frames_of(payloads))
    for listener, output in zip(listeners, outputs, strict=True):
        assert listener.receive_payloads(100) == payloads
        assert harness.counter_rows.output("feed", output)["packets"] == 100


@pytest.mark.parametrize("companions", [FEW, MANY])
@pytest.mark.parametrize("width", [2, 8, 9, 12])
def test_each_output_of_a_fan_out_of_any_width_gets_all_payloads(harness, studio, companions, width):
    outputs = [harness.to_left(port=7000 + number, ttl=number + 1) for number in range(width)]
    listeners = [UdpListener(studio.left, port=7000 + number) for number in range(width)]
    harness.apply_rule(*outputs)
    payloads = numbered_payloads(companions)
    harness.relay(*frames_of(payloads))
    for number, listener in enumerate(listeners):
        received = listener.receive(companions)
        assert [datagram.payload for datagram in received] == payloads
        assert {datagram.ttl for datagram in received} == {number + 1}


def test_payloads_of_equal_length_are_sent_as_segments_and_arrive_as_datagrams_in_order(
    harness, studio, left
):
    with studio.relay.enter_namespace():
        switch_offload("eth1", "tx-udp-segmentation", on=True)  # so that segments arrive unsplit
    with studio.left.enter_namespace():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    harness.apply_rule(harness.to_left())
    payloads = numbered_payloads(200, 1000)
    harness.send(*frames_of(payloads))
    harness.relay_total(200)
    assert left.receive_payloads(200) == payloads
    assert harness.counter_rows.output("feed", harness.to_left())["packets"] == 200
    lengths = [struct.unpack_from("!H", packet, 2)[0] for packet in receive_udp_packets(wire)]
    assert sum(length - 28 for length in lengths) == 200 * 1000
    assert max(lengths) > 2 * 1000
    assert len(lengths) < 50


def receive_udp_packets(wire):
    """Return the UDP packets that are waiting at a packet socket."""
    wire.settimeout(0)
    found = []
    while True:
        try:
            packet = wire.recv(1 << 16)
        except BlockingIOError:
            return found
        if packet[9] == socket.IPPROTO_UDP:
            found.append(packet)


def disable_checksum_offload(relay):
    with relay.enter_namespace():
        switch_offload("eth1", "tx-checksum-ip-generic", on=False)


def lower_mtu(relay):
    relay.ip("link set eth1 mtu 900")


@pytest.mark.parametrize("limit_device", [disable_checksum_offload, lower_mtu])
def test_payloads_are_sent_one_by_one_where_the_device_refuses_segments(harness, studio, left, limit_device):
    limit_device(studio.relay)
    harness.apply_rule(harness.to_left())
    payloads = numbered_payloads(300, 1000)
    harness.relay(*frames_of(payloads[:150]))
    harness.relay(*frames_of(payloads[150:]))  # the worker has learned that segments are refused
    assert left.receive_payloads(300) == payloads
    output = harness.counter_rows.output("feed", harness.to_left())
    assert (output.pop("packets"), output.pop("octets")) == (300, 300_000)
    assert set(output.values()) == {0}


def test_a_failing_output_is_counted_by_errno_and_does_not_affect_another(harness, studio, left, right):
    harness.apply_rule(harness.to_left(), harness.to_right())
    payloads = numbered_payloads(120)
    studio.relay.ip("link set eth1 down")
    harness.relay(*frames_of(payloads))
    assert right.receive_payloads(120) == payloads
    failed = harness.counter_rows.output("feed", harness.to_left())
    assert failed["packets"] == failed["octets"] == 0
    assert failed["ENETDOWN"] + failed["ENETUNREACH"] == 120
    studio.relay.ip("link set eth1 up")
    harness.relay(Frame(payload=b"back"))
    assert left.receive_payloads(1) == [b"back"]
    assert harness.counter_rows.output("feed", harness.to_left())["packets"] == 1


def test_a_link_that_was_down_is_read_again_when_it_is_up(harness, studio, left):
    harness.apply_rule(harness.to_left())
    studio.relay.ip("link set eth0 down")
    harness.worker.turn(1000)  # the ring reports ENETDOWN once
    harness.worker.turn(0)
    studio.relay.ip("link set eth0 up")
    # The kernel of the sender drops frames until it notices that the link is up.
    harness.run_until(lambda: harness.send(Frame(payload=b"back")) or harness.link["packets"])
    assert left.receive_first() == b"back"
