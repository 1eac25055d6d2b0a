"""Any frame becomes what a plain model says, which judges packets with the readers of packet/.

The model has one rule more than they: the program sums the UDP checksum of packets for a rule only, so a
damaged packet for no rule is not `malformed`.
"""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcrelay.lab import Lab
from mcrelay.model.addresses import address_to_bytes, number_to_address
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.packet.frame import TP_STATUS_CSUM_VALID, TP_STATUS_USER
from mcrelay.packet.headers import Fault, read_headers
from mcrelay.packet.keys import addresses, ports
from mcrelay.packet.scalar import read_plain
from tests.netns.support.kernel_bench import LINK_ROW, OWN, KernelBench, frame, identification, output, sent
from tests.support.packets import datagram
from tests.support.reference_reader import fault_of_frame, tags_of
from tests.support.ring_frames import Frame, as_array, nested_tags, often, port

PLAIN, CHOOSY, OTHER = "239.1.1.1", "239.1.1.2", "239.1.1.3"
ALLOWED, FORBIDDEN = "192.168.168.55", "192.168.168.56"
OUTPUTS_OF = {
    1: [output(1, ttl=7, dscp=10), output(2, ttl="decrement"), output(3, dscp="copy")],
    2: [output(4, ttl="decrement", dscp=63)],
}
RULE_OF = {PLAIN: 1, CHOOSY: 2}

packets = st.builds(
    datagram,
    payload=st.binary(max_size=70),
    version=often(4, st.integers(0, 15)),
    options=often(b"", st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))),
    length_words=often(None, st.integers(0, 15)),
    total=often(0, st.integers(-60, 60)),
    protocol=often(17, st.integers(0, 255)),
    fragment=often(0x4000, st.sampled_from([0, 0x2000, 1, 0x1FFF, 0x3FFF, 0x8000]) | port),
    ttl=st.integers(0, 3) | st.integers(0, 255),
    tos=st.integers(0, 255),
    udp_length=often(0, st.integers(-40, 40) | port),
    bad_checksum=often(0, port),
    trailer=often(b"", st.binary(max_size=26) | st.binary(min_size=500, max_size=600)),
    addresses=st.tuples(
        st.sampled_from([ALLOWED, ALLOWED, FORBIDDEN, OWN[0]]), st.sampled_from([PLAIN, PLAIN, CHOOSY, OTHER])
    ).map(lambda pair: tuple(map(address_to_bytes, pair))),
    ports=st.tuples(st.sampled_from([4000, OWN[1]]), st.sampled_from([5001, 5001, 5001, 5002])),
    damage=st.sampled_from([None, 0, 0, 1]),
)
frames = st.tuples(packets, often([], nested_tags))


@pytest.fixture(scope="module")
def bench():
    with Lab() as lab:
        bench = KernelBench(lab.host("relay"))
        bench.set_flow(PLAIN, 5001, OUTPUTS_OF[1], rule=1)
        bench.set_flow(CHOOSY, 5001, OUTPUTS_OF[2], rule=2, source=ALLOWED)
        bench.set_flow(CHOOSY, 5001, [], rule=2, lists_sources=True)
        yield bench
        bench.close()


def as_ring_frame(packet, tags):
    """Return a frame as a ring has it, after the kernel has removed the outermost tag."""
    octets = frame(packet, tags)[12:]
    if not tags:
        return Frame(packet)
    return Frame(octets[6:], tag=tags[0][1], ethertype=int.from_bytes(octets[4:6], "big"))


def judge(ring_frame):
    """Return the verdict on a frame, on which all readers agree, and its header fields."""
    fault = fault_of_frame(ring_frame)
    found = read_headers(as_array([ring_frame]))
    assert (0 if found.fault is None else found.fault[0]) == fault
    plain = read_plain(memoryview(ring_frame.octets(14)), 0)
    assert plain is None or fault is Fault.NONE
    return fault, found


def model(packet, tags):
    """Return the payload that is relayed, or None, the outputs, and the counts that a frame adds."""
    ring_frame = as_ring_frame(packet, tags)
    vlan, ethertype, nested = tags_of(ring_frame)
    if ethertype != 0x0800 or len(packet) < 20 or packet[9] != 17 or nested > 8:
        return None, [], Counter()
    length = 14 + len(ring_frame.packet)
    counts = Counter({("link", "packets"): 1, ("link", "octets"): length})
    fault, found = judge(ring_frame)
    vouched = replace(ring_frame, status=TP_STATUS_USER | TP_STATUS_CSUM_VALID)
    is_damaged = fault is Fault.MALFORMED and fault_of_frame(vouched) is Fault.NONE
    group = number_to_address(int.from_bytes(packet[16:20], "big"))
    rule = RULE_OF.get(group)
    if fault is Fault.TAGGED:
        counts["link", "no_rule"] += 1
        if rule:
            counts[rule, "tagged_packets"], counts[rule, "tagged_detail"] = 1, vlan
        return None, [], counts
    if fault is not Fault.NONE and not is_damaged:
        counts[rule or "link", fault.name.lower()] += 1
        return None, [], counts
    source, source_port = number_to_address(int(addresses(found.source)[0])), int(ports(found.source)[0])
    destination_port = int(ports(found.destination)[0])
    if rule is None or destination_port != 5001:
        counts["link", "no_rule"] += 1
        if rule:
            counts[rule, "other_port_packets"], counts[rule, "other_port_detail"] = 1, destination_port
        return None, [], counts
    if is_damaged:
        counts[rule, "malformed"] += 1
    elif group == CHOOSY and source != ALLOWED:
        counts[rule, "source"] += 1
    elif (source, source_port) == OWN:
        counts[rule, "own"] += 1
    else:
        start = int(found.payload if found.payload.ndim == 0 else found.payload[0])
        start -= int(found.network if found.network.ndim == 0 else found.network[0])
        payload = packet[start : start + int(found.length[0])]
        ttl, tos = int(found.ttl[0]), int(found.tos[0])
        counts[rule, "packets"], counts[rule, "octets"] = 1, len(payload)
        counts[rule, "last_source"] = int.from_bytes(packet[12:16], "big")
        outputs = []
        for one in OUTPUTS_OF[rule]:
            if one.ttl == "decrement" and ttl <= 1:
                counts["output", one.row, "ttl"] = 1
            else:
                outputs.append((one, ttl, tos))
                counts["output", one.row, "packets"] = 1
                counts["output", one.row, "octets"] = len(payload)
        return payload, outputs, counts
    return None, [], counts


def all_counts(bench):
    found = Counter()
    for key, table, row in (("link", LINKS, LINK_ROW), (1, RULES, 1), (2, RULES, 2)):
        found.update({(key, name): count for name, count in bench.counts(table, row).items()})
    for row in range(1, 5):
        found.update({("output", row, name): count for name, count in bench.counts(OUTPUTS, row).items()})
    return found


@settings(max_examples=300)
@given(frames)
def test_any_frame_becomes_what_the_model_says(bench, packet_and_tags):
    packet, tags = packet_and_tags
    bench.clear()
    payload, outputs, counts = model(packet, tags)
    octets = frame(packet, tags)
    bench.receive(octets)
    frames = bench.output.receive()
    assert frames == [
        sent(one, payload, ttl, tos, identification(got))
        for (one, ttl, tos), got in zip(outputs, frames, strict=True)
    ]
    assert all_counts(bench) == +counts
    if packet:
        assert bench.host.receive() == [octets]
