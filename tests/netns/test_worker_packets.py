"""A worker relays payloads unchanged with new headers, and counts every packet that it does not relay."""

import socket
from collections import Counter

import pytest

from mcrelay.lab.offload import switch_offload
from mcrelay.linux.constants import UDP_SEGMENT
from mcrelay.model.actions import Open
from mcrelay.model.state import Egress, Ingress, RouteOutput
from mcrelay.protocol.worker import Acknowledged
from mcrelay.supervisor.privileged import RING_OCTETS
from tests.netns.support.frames import (
    FOREIGN,
    GROUP,
    MORE_FRAGMENTS,
    OTHER_GROUP,
    PORT,
    Frame,
    frame_with,
    frames_of,
)
from tests.netns.support.worker_harness import FEW, MANY, WORKER, UdpListener, numbered_payloads
from tests.packet.cases import CASES, TAGGED, VALID

NO_OPERATION = b"\x01" * 4  # an IP option (RFC 791)


# The cases of the packet contract that a packet socket can send, and that pass the packet filter.


def can_be_sent(case):
    is_udp = len(case.packet) >= 20 and case.packet[9] == socket.IPPROTO_UDP
    return is_udp and not case.is_super_packet and case.captured is None and case.checksum == "open"


WIRE_CASES = [case for case in CASES if can_be_sent(case)]


@pytest.mark.parametrize("companions", [FEW, MANY])
@pytest.mark.parametrize("case", WIRE_CASES, ids=lambda case: case.name)
def test_a_packet_of_the_contract_is_relayed_or_counted_by_its_verdict(harness, left, case, companions):
    harness.apply_rule(harness.to_left())
    others = numbered_payloads(companions)
    frame = frame_with(case.packet, case.tags)
    harness.relay(*frames_of(others), frame, *frames_of(others))
    payloads = [case.payload] if case.verdict == VALID else []
    assert left.receive_payloads(2 * companions + len(payloads)) == [*others, *payloads, *others]
    expected = {VALID: ({}, {}), TAGGED: ({}, {"no_rule": 1})}
    assert harness.drops() == expected.get(case.verdict, ({case.verdict: 1}, {}))


# Relayed packets.


def test_a_payload_is_sent_with_new_headers(harness, left):
    assert harness.apply_rule(harness.to_left(dscp=46)) == Acknowledged(1)
    harness.relay(Frame(payload=b"hello", ttl=1, tos=0xFF))
    [datagram] = left.receive(1)
    assert (datagram.payload, datagram.source) == (b"hello", "10.2.0.1")
    assert (datagram.ttl, datagram.tos) == (64, 46 << 2)
    output = harness.counter_rows.output("feed", harness.to_left())
    assert (output["packets"], output["octets"]) == (1, 5)
    rule = harness.counter_rows.rule("feed")
    assert (rule["packets"], rule["octets"]) == (1, 5)
    assert rule["last_source"] == int.from_bytes(socket.inet_aton(FOREIGN))
    assert harness.link["packets"] == 1
    assert harness.link["octets"] == len(bytes(Frame(payload=b"hello")))


@pytest.mark.parametrize("companions", [FEW, MANY])
@pytest.mark.parametrize(
    ("frame", "payload"),
    [
        pytest.param(Frame(payload=b""), b"", id="an empty datagram"),
        pytest.param(Frame(payload=b"short", trailer=bytes(30)), b"short", id="padding after the packet"),
        pytest.param(Frame(payload=b"short.", udp_length=13), b"short", id="padding after the datagram"),
        pytest.param(Frame(options=NO_OPERATION * 3, payload=b"options"), b"options", id="IP options"),
        pytest.param(Frame(options=NO_OPERATION * 10, payload=b"all"), b"all", id="60 octets of IP header"),
        pytest.param(Frame(payload=b"z" * 1472), b"z" * 1472, id="as long as the MTU allows"),
        pytest.param(Frame(fragment=0x4000, payload=b"whole"), b"whole", id="DF is set"),
    ],
)
def test_the_payload_of_an_unusual_packet_is_relayed_unchanged(harness, left, frame, payload, companions):
    harness.apply_rule(harness.to_left())
    others = numbered_payloads(companions)
    harness.relay(*frames_of(others), frame, *frames_of(others))
    assert left.receive_payloads(2 * companions + 1) == [*others, payload, *others]
    assert harness.drops() == ({}, {})


def test_ttl_and_dscp_can_be_copied_from_the_packet_and_ecn_never_is(harness, left):
    harness.apply_rule(harness.to_left(ttl="decrement", dscp="copy"))
    harness.relay(*(Frame(ttl=ttl, tos=tos) for ttl, tos in ((2, 0x00), (65, 0xBB), (255, 0x03), (64, 0xFC))))
    received = [(datagram.ttl, datagram.tos) for datagram in left.receive(4)]
    assert received == [(1, 0x00), (64, 0xB8), (254, 0x00), (63, 0xFC)]


@pytest.mark.parametrize("companions", [FEW, MANY])
def test_a_used_up_ttl_is_counted_only_for_the_output_that_decrements_it(harness, left, right, companions):
    harness.apply_rule(harness.to_left(ttl="decrement"), harness.to_right(ttl=9))
    payloads = numbered_payloads(companions)
    harness.relay(*frames_of(payloads, ttl=2), *frames_of(payloads, ttl=1), *frames_of(payloads, ttl=0))
    assert left.receive_payloads(companions) == payloads
    assert right.receive_payloads(3 * companions) == payloads * 3
    decremented = harness.counter_rows.output("feed", harness.to_left())
    assert (decremented["packets"], decremented["ttl"]) == (companions, 2 * companions)
    fixed = harness.counter_rows.output("feed", harness.to_right())
    assert (fixed["packets"], fixed["ttl"]) == (3 * companions, 0)


def test_the_packet_filter_accepts_only_udp_to_groups_and_rules(harness, left):
    harness.apply_rule(harness.to_left())
    address = "10.1.0.1"
    harness.send(
        Frame(protocol=socket.IPPROTO_TCP),
        Frame(destination=address, mac=b"\xff" * 6),
        Frame(mac=b"\x02\x00\x00\x00\x00\x99"),  # for another host
        Frame(protocol=socket.IPPROTO_IGMP, payload=bytes(60)),
    )
    harness.relay(Frame(payload=b"wanted"))
    assert harness.link["packets"] == 1
    assert left.receive_payloads(1) == [b"wanted"]


def test_a_unicast_address_of_the_host_is_relayed_like_a_group(harness, left):
    harness.apply_rule(harness.to_left(), group="10.1.0.1")
    payloads = numbered_payloads(3)
    harness.relay(*frames_of(payloads, destination="10.1.0.1", mac=b"\xff" * 6))
    assert left.receive_payloads(3) == payloads


def test_a_unicast_host_can_be_an_output(harness, studio):
    listener = UdpListener(studio.left, "10.2.0.2", 6001)
    harness.apply_rule(harness.to_left("10.2.0.2"))
    payloads = numbered_payloads(20)
    harness.relay(*frames_of(payloads))
    assert listener.receive_payloads(20) == payloads


def test_rules_with_and_without_sources_work_side_by_side_on_different_ports(harness, left, right):
    actions = harness.rule_actions(harness.to_left(), sources=("10.0.0.5", "10.0.0.6"))
    actions += [Open(WORKER, harness.right), *harness.flow_actions(harness.to_right(), port=5002, rule="any")]
    harness.apply(*actions)
    harness.relay(
        Frame(source="10.0.0.5", payload=b"five"),
        Frame(source="10.0.0.7", payload=b"seven"),
        Frame(source="10.0.0.7", payload=b"any seven", port=5002),
        Frame(source="10.0.0.6", payload=b"six"),
    )
    assert left.receive_payloads(2) == [b"five", b"six"]
    assert right.receive_payloads(1) == [b"any seven"]
    assert harness.drops() == ({"source": 1}, {})
    assert harness.drops("any") == ({}, {})


# Packets that are not relayed.

DROPS = {
    "the first fragment": (Frame(fragment=MORE_FRAGMENTS), {"fragment": 1}, {}),
    "a later fragment": (Frame(fragment=100), {"fragment": 1}, {}),
    "a fragment without a rule": (Frame(fragment=100, destination=OTHER_GROUP), {}, {"fragment": 1}),
    "a bad checksum": (Frame(checksum=0xBAD), {"malformed": 1}, {}),
    "a bad checksum without a rule": (Frame(checksum=0xBAD, destination=OTHER_GROUP), {}, {"malformed": 1}),
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
    "a VLAN tag in a priority tag": (Frame(tags=((0x8100, 0xE000), (0x8100, 5))), {}, {"no_rule": 1}),
    "a wrong UDP checksum": (Frame(damage=1), {"malformed": 1}, {}),
    "a wrong UDP checksum without a rule": (Frame(damage=1, destination=OTHER_GROUP), {}, {"malformed": 1}),
    "a tagged fragment": (Frame(vlan=5, fragment=100), {}, {"no_rule": 1}),
    "another group": (Frame(destination=OTHER_GROUP), {}, {"no_rule": 1}),
    "another port": (Frame(port=PORT + 1), {}, {"no_rule": 1}),
    "a foreign source": (Frame(source="10.0.0.66"), {"source": 1}, {}),
}


@pytest.mark.parametrize("companions", [FEW, MANY])
@pytest.mark.parametrize(("frame", "by_rule", "by_link"), DROPS.values(), ids=DROPS)
def test_a_packet_that_is_not_relayed_is_counted_once_in_its_row(
    harness, left, frame, by_rule, by_link, companions
):
    harness.apply_rule(harness.to_left(), sources=(FOREIGN,))
    payloads = numbered_payloads(companions)
    harness.relay(*frames_of(payloads), frame, *frames_of(payloads))
    assert left.receive_payloads(2 * companions) == payloads * 2
    assert harness.drops() == (by_rule, by_link)
    assert harness.counter_rows.rule("feed")["packets"] == 2 * companions
    assert harness.counter_rows.output("feed", harness.to_left())["packets"] == 2 * companions


def test_all_drop_reasons_in_one_batch_are_counted_exactly(harness, left):
    harness.apply_rule(harness.to_left(), sources=(FOREIGN,))
    drops = [frame for frame, _, _ in DROPS.values()]
    good = numbered_payloads(len(drops))
    mixed = [one for pair in zip(frames_of(good), drops, strict=True) for one in pair]
    harness.relay(*mixed * 5)
    assert left.receive_payloads(5 * len(good)) == good * 5
    assert harness.drops() == tuple(
        {name: 5 * count for name, count in sum(map(Counter, counts), Counter()).items()}
        for counts in zip(*(case[1:] for case in DROPS.values()), strict=True)
    )
    assert harness.link["packets"] == 10 * len(drops)


@pytest.mark.parametrize("companions", [FEW, MANY])
def test_packets_from_an_endpoint_of_the_relay_are_not_relayed_again(harness, left, companions):
    own = Egress(harness.eth1, "10.2.0.1", 7777)
    harness.apply_rule(RouteOutput("left", own, "239.2.2.2", 6001, 64, 0))
    payloads = numbered_payloads(companions)
    harness.relay(
        *frames_of(payloads, source="10.2.0.1", source_port=7776),
        *frames_of(payloads, source="10.2.0.1", source_port=7777),
        *frames_of(payloads, source="10.2.0.2", source_port=7777),
    )
    assert left.receive_payloads(2 * companions) == payloads * 2
    assert harness.drops() == ({"own": companions}, {})


def test_packets_from_an_endpoint_of_the_relay_without_a_rule_are_counted_as_no_rule(harness):
    own = Egress(harness.eth1, "10.2.0.1", 7777)
    harness.apply_rule(RouteOutput("left", own, "239.2.2.2", 6001, 64, 0))
    harness.relay(Frame(source="10.2.0.1", source_port=7777, destination=OTHER_GROUP))
    assert harness.drops() == ({}, {"no_rule": 1})


@pytest.mark.parametrize(
    ("segment", "octets"), [pytest.param(500, 1000, id="fits the frame"), (1000, 40_000), (1472, 60_000)]
)
def test_a_super_packet_is_counted_and_not_relayed(harness, studio, left, segment, octets):
    harness.apply_rule(harness.to_left())
    with studio.sender.enter_namespace():
        switch_offload("eth0", "tx-udp-segmentation", on=True)
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
    sending.bind((FOREIGN, 0))
    sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FOREIGN))
    sending.sendto(bytes(octets), (GROUP, PORT))
    harness.relay_total(1)
    harness.relay(Frame(payload=b"plain"))
    assert left.receive_payloads(1) == [b"plain"]
    assert harness.drops() == ({"oversize": 1}, {})


def test_packets_that_do_not_fit_a_full_ring_are_counted_as_overrun(harness, left):
    size = 1 << 16  # octets, as for a very large MTU: few frames fit the ring
    harness.apply_rule(harness.to_left(), frame_size=size)
    payloads = numbered_payloads(RING_OCTETS // size + 100, 20)
    harness.send(*frames_of(payloads))
    harness.run_until(lambda: harness.link["packets"] + harness.link["overrun"] >= len(payloads))
    relayed = harness.link["packets"]
    assert harness.link["overrun"] == len(payloads) - relayed > 0
    assert left.receive_payloads(relayed) == payloads[:relayed]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_packets_on_a_link_without_flows_are_counted_as_no_rule(harness, count):
    harness.apply(Open(WORKER, Ingress(harness.eth0, 2048)))
    harness.relay(*frames_of(numbered_payloads(count)))
    assert harness.drops() == ({}, {"no_rule": count})
