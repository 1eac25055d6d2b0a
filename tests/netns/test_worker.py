"""The worker, on the bench: what it relays is right to the octet, and what it does not relay is counted."""

import gc
import os
import socket
import struct
from collections import Counter
from contextlib import contextmanager

import pytest

from mcrelay.ipc.channel import ChannelClosed
from mcrelay.lab.command import TIMEOUT_S
from mcrelay.lab.offload import switch_offload
from mcrelay.model.actions import Close, DeleteFlow, Open, SetFlow
from mcrelay.model.state import DesiredState, Egress, Flow, Ingress, Output, Route
from mcrelay.protocol.framing import MAX_PACKET, PROTOCOL, Hello, WireError, cut_into_packets
from mcrelay.protocol.worker import (
    Acknowledged,
    BatchMessage,
    Instruction,
    Refused,
    decode_answer,
    encode_batch,
)
from mcrelay.supervisor.privileged import RING_OCTETS, open_egress, open_ring
from mcrelay.worker.egress import MAX_PAYLOADS
from mcrelay.worker.ring import Ring
from tests.netns.support.frames import FOREIGN, GROUP, MORE_FRAGMENTS, PORT, Frame
from tests.netns.support.worker_harness import WORKER, Bench, Ear, numbered

UDP_SEGMENT = 103  # linux/udp.h
ETH_P_IP = 0x0800
NO_OPERATION = b"\x01" * 4  # an IP option (RFC 791)
FEW, MANY = 1, 150


def descriptors():
    """How many descriptors this process has open, what earlier tests have left behind aside."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def bench(studio):
    return Bench(studio)


@pytest.fixture
def left(studio):
    return Ear(studio.left)


@pytest.fixture
def right(studio):
    return Ear(studio.right)


def frames(payloads, **fields):
    return [Frame(payload=payload, **fields) for payload in payloads]


# What is relayed.


def test_a_payload_goes_out_again_with_all_else_new(bench, left):
    assert bench.order(*bench.feed(bench.to_left(dscp=46))) == Acknowledged(1)
    bench.relay(Frame(payload=b"hello", ttl=1, tos=0xFF))
    [datagram] = left.heard(1)
    assert (datagram.payload, datagram.source) == (b"hello", "10.2.0.1")
    assert (datagram.ttl, datagram.tos) == (64, 46 << 2)
    output = bench.ledger.output("feed", bench.to_left())
    assert (output["packets"], output["octets"]) == (1, 5)
    rule = bench.ledger.rule("feed")
    assert (rule["packets"], rule["octets"]) == (1, 5)
    assert rule["last_source"] == int.from_bytes(socket.inet_aton(FOREIGN))
    assert bench.link["packets"] == 1
    assert bench.link["octets"] == len(bytes(Frame(payload=b"hello")))


@pytest.mark.parametrize("companions", [FEW, MANY])
@pytest.mark.parametrize(
    ("frame", "payload"),
    [
        pytest.param(Frame(payload=b""), b"", id="an empty datagram"),
        pytest.param(Frame(payload=b"short", trailer=bytes(30)), b"short", id="padding behind the packet"),
        pytest.param(Frame(payload=b"short.", udp_length=13), b"short", id="padding behind the datagram"),
        pytest.param(Frame(options=NO_OPERATION * 3, payload=b"options"), b"options", id="IP options"),
        pytest.param(Frame(options=NO_OPERATION * 10, payload=b"all"), b"all", id="60 octets of IP header"),
        pytest.param(Frame(payload=b"z" * 1472), b"z" * 1472, id="as long as the MTU allows"),
        pytest.param(Frame(fragment=0x4000, payload=b"whole"), b"whole", id="DF is set"),
    ],
)
def test_an_unusual_packet_is_relayed_to_the_octet(bench, left, frame, payload, companions):
    bench.order(*bench.feed(bench.to_left()))
    others = numbered(companions)
    bench.relay(*frames(others), frame, *frames(others))
    assert left.payloads(2 * companions + 1) == [*others, payload, *others]
    assert bench.drops() == ({}, {})


def test_ttl_and_dscp_can_come_from_the_packet_but_never_the_bits_of_ecn(bench, left):
    bench.order(*bench.feed(bench.to_left(ttl="decrement", dscp="copy")))
    bench.relay(*(Frame(ttl=ttl, tos=tos) for ttl, tos in ((2, 0x00), (65, 0xBB), (255, 0x03), (64, 0xFC))))
    heard = [(datagram.ttl, datagram.tos) for datagram in left.heard(4)]
    assert heard == [(1, 0x00), (64, 0xB8), (254, 0x00), (63, 0xFC)]


@pytest.mark.parametrize("companions", [FEW, MANY])
def test_a_ttl_that_is_used_up_ends_there_and_is_counted_for_its_output_alone(bench, left, right, companions):
    bench.order(*bench.feed(bench.to_left(ttl="decrement"), bench.to_right(ttl=9)))
    payloads = numbered(companions)
    bench.relay(*frames(payloads, ttl=2), *frames(payloads, ttl=1), *frames(payloads, ttl=0))
    assert left.payloads(companions) == payloads
    assert right.payloads(3 * companions) == payloads * 3
    decremented = bench.ledger.output("feed", bench.to_left())
    assert (decremented["packets"], decremented["ttl"]) == (companions, 2 * companions)
    fixed = bench.ledger.output("feed", bench.to_right())
    assert (fixed["packets"], fixed["ttl"]) == (3 * companions, 0)


def test_only_what_asks_for_the_rule_passes_the_kernels_filter(bench, left):
    bench.order(*bench.feed(bench.to_left()))
    address = "10.1.0.1"
    bench.send(
        Frame(protocol=socket.IPPROTO_TCP),
        Frame(destination=address, mac=b"\xff" * 6),
        Frame(mac=b"\x02\x00\x00\x00\x00\x99"),  # for another host
        Frame(protocol=socket.IPPROTO_IGMP, payload=bytes(60)),
    )
    bench.relay(Frame(payload=b"wanted"))
    assert bench.link["packets"] == 1
    assert left.payloads(1) == [b"wanted"]


def test_a_unicast_address_of_the_host_is_relayed_like_a_group(bench, left):
    bench.order(*bench.feed(bench.to_left(), group="10.1.0.1"))
    payloads = numbered(3)
    bench.relay(*frames(payloads, destination="10.1.0.1", mac=b"\xff" * 6))
    assert left.payloads(3) == payloads


def test_a_unicast_host_can_be_an_output(bench, studio):
    ear = Ear(studio.left, "10.2.0.2", 6001)
    bench.order(*bench.feed(bench.to_left("10.2.0.2")))
    payloads = numbered(20)
    bench.relay(*frames(payloads))
    assert ear.payloads(20) == payloads


def test_any_source_and_chosen_sources_live_side_by_side_on_other_ports(bench, left, right):
    actions = bench.feed(bench.to_left(), sources=("10.0.0.5", "10.0.0.6"))
    actions += [Open(WORKER, bench.right), *bench.flows(bench.to_right(), port=5002, rule="any")]
    bench.order(*actions)
    bench.relay(
        Frame(source="10.0.0.5", payload=b"five"),
        Frame(source="10.0.0.7", payload=b"seven"),
        Frame(source="10.0.0.7", payload=b"any seven", port=5002),
        Frame(source="10.0.0.6", payload=b"six"),
    )
    assert left.payloads(2) == [b"five", b"six"]
    assert right.payloads(1) == [b"any seven"]
    assert bench.drops() == ({"source": 1}, {})
    assert bench.drops("any") == ({}, {})


# What is not relayed.

OTHER_GROUP = "239.1.1.9"
DROPS = {
    "the first fragment": (Frame(fragment=MORE_FRAGMENTS), {"fragment": 1}, {}),
    "a later fragment": (Frame(fragment=100), {"fragment": 1}, {}),
    "a fragment for nobody": (Frame(fragment=100, destination=OTHER_GROUP), {}, {"fragment": 1}),
    "a bad checksum": (Frame(checksum=0xBAD), {"malformed": 1}, {}),
    "a bad checksum for nobody": (Frame(checksum=0xBAD, destination=OTHER_GROUP), {}, {"malformed": 1}),
    "another version of IP": (Frame(version=5), {"malformed": 1}, {}),
    "a header of 4 words": (Frame(header_words=4), {"malformed": 1}, {}),
    "a header longer than the packet": (Frame(header_words=15, payload=b""), {"malformed": 1}, {}),
    "more promised than there is": (Frame(total=1000), {"malformed": 1}, {}),
    "less than a header": (Frame(total=19), {"malformed": 1}, {}),
    "no room for UDP": (Frame(total=27), {"malformed": 1}, {}),
    "a UDP header cut short": (Frame(udp_length=7), {"malformed": 1}, {}),
    "more UDP than IP": (Frame(payload=b"seven..", udp_length=16), {"malformed": 1}, {}),
    "no UDP length": (Frame(udp_length=0), {"malformed": 1}, {}),
    "a VLAN tag": (Frame(vlan=5), {}, {"no_rule": 1}),
    "a priority tag": (Frame(vlan=0xE000), {}, {"no_rule": 1}),
    "a tagged fragment": (Frame(vlan=5, fragment=100), {}, {"no_rule": 1}),
    "another group": (Frame(destination=OTHER_GROUP), {}, {"no_rule": 1}),
    "another port": (Frame(port=PORT + 1), {}, {"no_rule": 1}),
    "a foreign source": (Frame(source="10.0.0.66"), {"source": 1}, {}),
}


@pytest.mark.parametrize("companions", [FEW, MANY])
@pytest.mark.parametrize(("frame", "by_rule", "by_link"), DROPS.values(), ids=DROPS)
def test_what_is_not_relayed_is_counted_once_and_in_its_row(bench, left, frame, by_rule, by_link, companions):
    bench.order(*bench.feed(bench.to_left(), sources=(FOREIGN,)))
    payloads = numbered(companions)
    bench.relay(*frames(payloads), frame, *frames(payloads))
    assert left.payloads(2 * companions) == payloads * 2
    assert bench.drops() == (by_rule, by_link)
    assert bench.ledger.rule("feed")["packets"] == 2 * companions
    assert bench.ledger.output("feed", bench.to_left())["packets"] == 2 * companions


def test_all_reasons_in_one_batch_are_each_counted_exactly(bench, left):
    bench.order(*bench.feed(bench.to_left(), sources=(FOREIGN,)))
    drops = [frame for frame, _, _ in DROPS.values()]
    good = numbered(len(drops))
    mixed = [one for pair in zip(frames(good), drops, strict=True) for one in pair]
    bench.relay(*mixed * 5)
    assert left.payloads(5 * len(good)) == good * 5
    assert bench.drops() == tuple(
        {name: 5 * count for name, count in sum(map(Counter, counts), Counter()).items()}
        for counts in zip(*(case[1:] for case in DROPS.values()), strict=True)
    )
    assert bench.link["packets"] == 10 * len(drops)


@pytest.mark.parametrize("companions", [FEW, MANY])
def test_what_the_relay_sent_itself_is_not_relayed_again(bench, left, companions):
    own = Egress(bench.eth1, "10.2.0.1", 7777)
    bench.order(*bench.feed(Output("left", own, "239.2.2.2", 6001, 64, 0)))
    payloads = numbered(companions)
    bench.relay(
        *frames(payloads, source="10.2.0.1", source_port=7776),
        *frames(payloads, source="10.2.0.1", source_port=7777),
        *frames(payloads, source="10.2.0.2", source_port=7777),
    )
    assert left.payloads(2 * companions) == payloads * 2
    assert bench.drops() == ({"own": companions}, {})


def test_what_the_relay_sent_itself_and_nobody_relays_has_no_rule(bench):
    own = Egress(bench.eth1, "10.2.0.1", 7777)
    bench.order(*bench.feed(Output("left", own, "239.2.2.2", 6001, 64, 0)))
    bench.relay(Frame(source="10.2.0.1", source_port=7777, destination=OTHER_GROUP))
    assert bench.drops() == ({}, {"no_rule": 1})


@pytest.mark.parametrize(
    ("segment", "octets"), [pytest.param(500, 1000, id="fits the frame"), (1000, 40_000), (1472, 60_000)]
)
def test_a_super_packet_is_counted_and_never_sent_as_one_datagram(bench, studio, left, segment, octets):
    bench.order(*bench.feed(bench.to_left()))
    with studio.sender.entered():
        switch_offload("eth0", "tx-udp-segmentation", on=True)
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
    sending.bind((FOREIGN, 0))
    sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FOREIGN))
    sending.sendto(bytes(octets), (GROUP, PORT))
    bench.relay_waiting(1)
    bench.relay(Frame(payload=b"plain"))
    assert left.payloads(1) == [b"plain"]
    assert bench.drops() == ({"oversize": 1}, {})


def test_packets_that_find_the_ring_full_are_counted_as_overrun(bench, left):
    size = 1 << 16  # the frame of a very large MTU: few fit the ring
    bench.order(*bench.feed(bench.to_left(), frame_size=size))
    payloads = numbered(RING_OCTETS // size + 100, 20)
    bench.send(*frames(payloads))
    bench.turn_until(lambda: bench.link["packets"] + bench.link["overrun"] >= len(payloads))
    relayed = bench.link["packets"]
    assert bench.link["overrun"] == len(payloads) - relayed > 0
    assert left.payloads(relayed) == payloads[:relayed]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_ring_without_any_flow_counts_what_it_reads(bench, count):
    bench.order(Open(WORKER, Ingress(bench.eth0, 2048)))
    bench.relay(*frames(numbered(count)))
    assert bench.drops() == ({}, {"no_rule": count})


# Outputs.


def test_fan_out_keeps_the_order_of_each_output_whatever_the_sizes(bench, studio, left, right):
    unicast = Ear(studio.right, "10.3.0.2", 6003)
    bench.order(*bench.feed(bench.to_left(), bench.to_right(), bench.to_right("10.3.0.2", 6003)))
    payloads = [payload[: 4 + 97 * number % 1400] for number, payload in enumerate(numbered(400, 1472))]
    bench.relay(*frames(payloads))
    for ear in (left, right, unicast):
        assert ear.payloads(400) == payloads


def test_fan_out_beyond_what_one_round_of_system_calls_takes_loses_nothing(bench, studio):
    outputs = [bench.to_left(port=7000 + number) for number in range(50)]
    ears = [Ear(studio.left, port=7000 + number) for number in range(50)]
    bench.order(*bench.feed(*outputs))
    payloads = [payload[: 100 + number] for number, payload in enumerate(numbered(100, 200))]
    assert (
        len(outputs) * len(payloads) > 2 * MAX_PAYLOADS
    )  # each longer than the one before: a message of its own
    bench.relay(*frames(payloads))
    for ear, output in zip(ears, outputs, strict=True):
        assert ear.payloads(100) == payloads
        assert bench.ledger.output("feed", output)["packets"] == 100


@pytest.mark.parametrize("companions", [FEW, MANY])
@pytest.mark.parametrize("width", [2, 8, 9, 12])
def test_a_fan_out_of_any_width_gives_each_output_everything(bench, studio, companions, width):
    outputs = [bench.to_left(port=7000 + number, ttl=number + 1) for number in range(width)]
    ears = [Ear(studio.left, port=7000 + number) for number in range(width)]
    bench.order(*bench.feed(*outputs))
    payloads = numbered(companions)
    bench.relay(*frames(payloads))
    for number, ear in enumerate(ears):
        heard = ear.heard(companions)
        assert [datagram.payload for datagram in heard] == payloads
        assert {datagram.ttl for datagram in heard} == {number + 1}


def test_payloads_of_one_length_go_out_as_segments_and_arrive_single_and_in_order(bench, studio, left):
    with studio.relay.entered():
        switch_offload("eth1", "tx-udp-segmentation", on=True)  # so that the far end sees what was sent
    with studio.left.entered():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    bench.order(*bench.feed(bench.to_left()))
    payloads = numbered(200, 1000)
    bench.send(*frames(payloads))
    bench.relay_waiting(200)
    assert left.payloads(200) == payloads
    assert bench.ledger.output("feed", bench.to_left())["packets"] == 200
    lengths = [struct.unpack_from("!H", packet, 2)[0] for packet in waiting(wire)]
    assert sum(length - 28 for length in lengths) == 200 * 1000
    assert max(lengths) > 2 * 1000
    assert len(lengths) < 50


def waiting(wire):
    """Take the UDP packets that wait at a packet socket."""
    wire.settimeout(0)
    found = []
    while True:
        try:
            packet = wire.recv(1 << 16)
        except BlockingIOError:
            return found
        if packet[9] == socket.IPPROTO_UDP:
            found.append(packet)


def without_checksum_offload(relay):
    with relay.entered():
        switch_offload("eth1", "tx-checksum-ip-generic", on=False)


def with_a_smaller_mtu(relay):
    relay.ip("link set eth1 mtu 900")


@pytest.mark.parametrize("hindrance", [without_checksum_offload, with_a_smaller_mtu])
def test_where_the_device_takes_no_segments_all_goes_out_singly(bench, studio, left, hindrance):
    hindrance(studio.relay)
    bench.order(*bench.feed(bench.to_left()))
    payloads = numbered(300, 1000)
    bench.relay(*frames(payloads[:150]))
    bench.relay(*frames(payloads[150:]))  # the worker knows by now
    assert left.payloads(300) == payloads
    output = bench.ledger.output("feed", bench.to_left())
    assert (output.pop("packets"), output.pop("octets")) == (300, 300_000)
    assert set(output.values()) == {0}


def test_an_output_that_fails_is_counted_by_errno_and_harms_no_other(bench, studio, left, right):
    bench.order(*bench.feed(bench.to_left(), bench.to_right()))
    payloads = numbered(120)
    studio.relay.ip("link set eth1 down")
    bench.relay(*frames(payloads))
    assert right.payloads(120) == payloads
    failed = bench.ledger.output("feed", bench.to_left())
    assert failed["packets"] == failed["octets"] == 0
    assert failed["ENETDOWN"] + failed["ENETUNREACH"] == 120
    studio.relay.ip("link set eth1 up")
    bench.relay(Frame(payload=b"back"))
    assert left.payloads(1) == [b"back"]
    assert bench.ledger.output("feed", bench.to_left())["packets"] == 1


def test_a_link_that_was_down_is_read_again_when_it_is_up(bench, studio, left):
    bench.order(*bench.feed(bench.to_left()))
    studio.relay.ip("link set eth0 down")
    bench.worker.turn(1000)  # the ring says ENETDOWN, once
    bench.worker.turn(0)
    studio.relay.ip("link set eth0 up")
    # The sender's kernel may take a moment to notice, and until then it drops what it is given.
    bench.turn_until(lambda: bench.send(Frame(payload=b"back")) or bench.link["packets"])
    assert left.first() == b"back"


# Batches.


def test_flows_rings_and_sockets_come_and_go_and_the_rest_is_untouched(bench, left, right):
    bench.order(*bench.feed(bench.to_left()))
    other = Flow(bench.eth0, OTHER_GROUP, PORT)
    route = Route("other", (bench.to_right(),))
    bench.order(Open(WORKER, bench.right), SetFlow(WORKER, other, route))
    both = [Frame(payload=b"one"), Frame(destination=OTHER_GROUP, payload=b"two")]
    bench.relay(*both)
    bench.order(DeleteFlow(WORKER, other), Close(WORKER, bench.right))
    bench.relay(*both)
    assert left.payloads(2) == [b"one", b"one"]
    assert right.payloads(1) == [b"two"]
    assert bench.drops() == ({}, {"no_rule": 1})


def test_a_flow_that_is_set_anew_goes_elsewhere_and_keeps_its_count(bench, left, right):
    bench.order(*bench.feed(bench.to_left()))
    bench.relay(Frame(payload=b"one"))
    bench.order(Open(WORKER, bench.right), *bench.flows(bench.to_right()))
    bench.relay(Frame(payload=b"two"))
    assert (left.payloads(1), right.payloads(1)) == ([b"one"], [b"two"])
    assert bench.ledger.rule("feed")["packets"] == 2


def test_what_is_closed_is_read_no_more_and_leaves_no_descriptor(bench):
    before = descriptors()
    bench.order(*bench.feed(bench.to_left()))
    bench.order(
        DeleteFlow(WORKER, Flow(bench.eth0, GROUP, PORT)),
        Close(WORKER, bench.left),
        Close(WORKER, Ingress(bench.eth0, 2048)),
    )
    bench.sockets.keep(DesiredState())
    assert descriptors() == before
    bench.send(Frame())
    bench.worker.turn(0)
    assert bench.link["packets"] == 0


def test_a_ring_of_larger_frames_takes_the_place_of_the_old_one(bench, studio, left):
    bench.order(*bench.feed(bench.to_left()))
    bench.relay(Frame(payload=b"before"))
    before = descriptors()
    for host, device in ((studio.sender, "eth0"), (studio.relay, "eth0"), (studio.relay, "eth1")):
        host.ip(f"link set {device} mtu 9000")
    studio.left.ip("link set eth0 mtu 9000")
    bench.order(Open(WORKER, Ingress(bench.eth0, 16384)))
    payloads = numbered(50, 8000)
    bench.relay(*frames(payloads))
    assert left.payloads(51) == [b"before", *payloads]
    assert bench.ledger.rule("feed")["packets"] == 51
    assert descriptors() == before


def test_two_links_are_read_and_counted_each_for_itself(bench, studio, left):
    back = Flow(bench.eth2, GROUP, PORT)
    bench.order(
        *bench.feed(bench.to_left()),
        Open(WORKER, Ingress(bench.eth2, 2048)),
        SetFlow(WORKER, back, Route("back", (bench.to_left(),))),
    )
    with studio.right.entered():
        other_wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        other_wire.bind(("eth0", 0))
    other_wire.send(bytes(Frame(payload=b"from the right")))
    bench.turn_until(lambda: bench.ledger.link(bench.eth2)["packets"] == 1)
    bench.relay(Frame(payload=b"from the sender"))
    assert left.payloads(2) == [b"from the right", b"from the sender"]
    assert bench.ledger.rule("back")["packets"] == bench.ledger.rule("feed")["packets"] == 1
    bench.order(DeleteFlow(WORKER, back), Close(WORKER, Ingress(bench.eth2, 2048)))
    bench.relay(Frame(payload=b"still"))
    assert left.payloads(1) == [b"still"]


@contextmanager
def unfit(kind):
    """A descriptor that no instruction can use."""
    if kind == "memory":
        descriptor = os.memfd_create("no socket")
        yield descriptor
        os.close(descriptor)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            yield sock.fileno()


@pytest.mark.parametrize("kind", ["memory", "UDP socket"])
def test_a_batch_with_a_ring_that_is_none_changes_nothing_and_leaves_no_descriptor(bench, left, kind):
    bench.order(*bench.feed(bench.to_left()))
    with bench.studio.relay.entered():
        ring, way_out = open_ring(Ingress(bench.eth2, 2048)), open_egress(bench.right)
    before = descriptors()
    with unfit(kind) as bad:
        answer = bench.say(
            [
                Instruction(DeleteFlow(WORKER, Flow(bench.eth0, GROUP, PORT))),
                Instruction(Open(WORKER, Ingress(bench.eth2, 2048)), (1,)),
                Instruction(Open(WORKER, bench.right)),
                Instruction(Open(WORKER, Ingress(bench.eth1, 2048)), (2,)),
                Instruction(Open(WORKER, bench.left)),
            ],
            [ring.fileno(), way_out.fileno(), bad, way_out.fileno()],
        )
    assert isinstance(answer, Refused)
    assert (answer.number, answer.index) == (2, 3)
    assert "socket" in answer.reason or f"ring of link {bench.eth1}" in answer.reason
    assert descriptors() == before
    bench.relay(Frame(payload=b"untouched"))
    assert left.payloads(1) == [b"untouched"]


def test_a_batch_with_an_egress_socket_that_is_none_is_refused_too(bench, left):
    bench.order(*bench.feed(bench.to_left()))
    before = descriptors()
    with unfit("memory") as bad:
        answer = bench.say([Instruction(Open(WORKER, bench.right))], [bad])
    assert isinstance(answer, Refused)
    assert answer.index == 0
    assert descriptors() == before
    bench.relay(Frame(payload=b"untouched"))
    assert left.payloads(1) == [b"untouched"]


def test_after_a_refusal_a_better_batch_is_taken(bench, left, right):
    bench.order(*bench.feed(bench.to_left()))
    with unfit("memory") as bad:
        bench.say([Instruction(Open(WORKER, bench.right))], [bad])
    assert bench.order(Open(WORKER, bench.right), *bench.flows(bench.to_right())) == Acknowledged(3)
    bench.relay(Frame(payload=b"better"))
    assert right.payloads(1) == [b"better"]


# Death, and life after it.


def test_a_successor_goes_on_where_the_dead_worker_stopped_and_loses_nothing(bench, left):
    bench.order(*bench.feed(bench.to_left()))
    payloads = numbered(1000)
    bench.relay(*frames(payloads[:300]))
    bench.die()
    bench.send(*frames(payloads[300:]))  # they wait in the ring
    bench.start()
    assert bench.order(*bench.feed(bench.to_left())) == Acknowledged(2)
    bench.relay_waiting(1000)
    assert left.payloads(1000) == payloads
    assert bench.ledger.rule("feed")["packets"] == 1000
    assert bench.ledger.output("feed", bench.to_left())["packets"] == 1000


def test_successors_go_on_behind_the_end_of_the_ring_too(bench, left):
    size = 1 << 16
    actions = bench.feed(bench.to_left(), frame_size=size)
    bench.order(*actions)
    payloads = numbered(3 * RING_OCTETS // size // 2)
    for begin in range(0, len(payloads), 100):
        part = frames(payloads[begin : begin + 100])
        bench.relay(*part[:30])
        bench.die()
        bench.send(*part[30:])
        bench.start()
        bench.order(*actions)
        bench.relay_waiting(begin + len(part))
    assert left.payloads(len(payloads)) == payloads


def test_a_successor_of_a_full_ring_relays_all_that_fitted(bench, left):
    size = 1 << 16
    actions = bench.feed(bench.to_left(), frame_size=size)
    bench.order(*actions)
    bench.relay(*frames(numbered(50)))
    bench.die()
    room = RING_OCTETS // size
    payloads = numbered(room + 10)
    bench.send(*frames(payloads))
    bench.start()
    bench.order(*actions)
    bench.turn_until(lambda: bench.link["overrun"] == 10)
    assert left.payloads(50 + room) == numbered(50) + payloads[:room]
    bench.relay(Frame(payload=b"afterwards"))
    assert left.payloads(1) == [b"afterwards"]


class Died(BaseException):
    """The end of a worker in the middle of its work."""


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("has_moved_on", [False, True])
def test_a_worker_that_dies_while_it_gives_frames_back_costs_at_most_one_batch_sent_twice(
    bench, left, monkeypatch, has_moved_on, count
):
    def die(ring, frame):
        if has_moved_on:
            move(ring, frame)
        raise Died

    move = Ring._move_head
    bench.order(*bench.feed(bench.to_left()))
    bench.relay(*frames(numbered(5)))
    assert left.payloads(5) == numbered(5)
    bench.send(*frames(numbered(count)))
    with monkeypatch.context() as patch:
        patch.setattr(Ring, "_move_head", die)
        with pytest.raises(Died):
            bench.relay_waiting(5 + count)
    bench.die()
    bench.start()
    bench.order(*bench.feed(bench.to_left()))
    bench.send(Frame(payload=b"afterwards"))
    heard = []
    bench.turn_until(lambda: heard.extend(left.waiting()) or b"afterwards" in heard)
    once = [*numbered(count), b"afterwards"]
    assert heard in (once, numbered(count) + once)
    size = RING_OCTETS // 2048
    more = numbered(2 * size)  # round the whole ring: no frame of it was forgotten
    for begin in range(0, len(more), 1000):
        bench.relay(*frames(more[begin : begin + 1000]))
    assert left.payloads(len(more)) == more


def test_a_ring_that_is_not_resumed_is_read_from_its_start(bench, left):
    bench.order(*bench.feed(bench.to_left()))
    bench.relay(*frames(numbered(20)))
    bench.sockets.forget_rings(WORKER, frozenset())
    bench.die()
    bench.start()
    bench.order(*bench.feed(bench.to_left()))
    bench.relay(Frame(payload=b"fresh"))
    assert left.payloads(21) == [*numbered(20), b"fresh"]


# The channel.


def test_the_end_of_the_channel_ends_the_worker(bench):
    bench.channel.close()
    with pytest.raises(ChannelClosed):
        bench.worker.turn(TIMEOUT_S * 1000)


def test_a_supervisor_that_is_gone_before_the_answer_ends_the_worker(bench):
    text = encode_batch(BatchMessage(1, 1, ()))
    for packet in cut_into_packets(text):
        bench.channel.send(packet.data)
    bench.channel.close()
    with pytest.raises(ChannelClosed):
        bench.worker.turn(TIMEOUT_S * 1000)


def test_a_worker_says_hello_and_runs_until_the_end_of_its_channel(bench):
    bench.channel.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelClosed):
        bench.worker.run()
    assert decode_answer(bench.channel.recv(MAX_PACKET)[1:]) == Hello(PROTOCOL)


def test_a_batch_may_come_in_pieces(bench):
    bench.channel.send(b"+[1,")
    bench.channel.send(b".1,[]]")
    bench.worker.turn(TIMEOUT_S * 1000)
    assert decode_answer(bench.channel.recv(MAX_PACKET)[1:]) == Acknowledged(1)


def test_a_supervisor_that_dies_before_it_has_read_all_ends_the_worker(bench):
    bench.channel.send(b".[1,1,[]]")
    bench.worker.turn(TIMEOUT_S * 1000)
    bench.channel.close()  # with the answer unread, which makes the end a reset
    with pytest.raises(ChannelClosed):
        bench.worker.turn(TIMEOUT_S * 1000)


@pytest.mark.parametrize("nonsense", [b"?[]", b'.[1,1,[["dance"]]]'])
def test_what_is_no_message_is_an_error_of_the_protocol(bench, nonsense):
    bench.channel.send(nonsense)
    with pytest.raises(WireError):
        bench.worker.turn(TIMEOUT_S * 1000)
