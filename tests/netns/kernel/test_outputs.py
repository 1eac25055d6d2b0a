"""What the kernel plane sends: fan-out, exclusive flows, super-packets, send errors, changes of routes."""

import os
import re
import struct

import pytest

from mcrelay.kernel.layout import AddressKey, address_hash
from mcrelay.lab import Lab
from mcrelay.model.addresses import address_to_bytes
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.send_errors import SEND_ERROR_NAMES, PathFault
from tests.netns.support.kernel_bench import (
    LINK_ROW,
    OWN,
    KernelBench,
    frame,
    identification,
    output,
    sent,
)
from tests.support.packets import datagram

GROUP, PORT, RULE = "239.1.1.1", 5001, 1
PAYLOAD = bytes(range(256)) * 4
MISSING_IFINDEX = 4_000
LINUX = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))

with_super_packets = pytest.mark.skipif(
    LINUX <= (6, 1), reason="Linux 6.1 takes no super-packet from a TAP device"
)


@pytest.fixture(scope="module")
def shared_bench():
    with Lab() as lab:
        bench = KernelBench(lab.host("relay"))
        yield bench
        bench.close()


@pytest.fixture
def bench(shared_bench):
    shared_bench.reset()
    return shared_bench


def expected(outputs, frames, payload=PAYLOAD):
    """Return the frames that these outputs send, with the identifications of those that came."""
    return [
        sent(one, payload, identification=identification(got))
        for one, got in zip(outputs, frames, strict=True)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 8, 64])
@pytest.mark.parametrize("is_exclusive", [False, True], ids=["shared", "exclusive"])
def test_each_output_gets_a_datagram_of_its_own(bench, count, is_exclusive):
    outputs = bench.set_flow(
        GROUP, PORT, [output(number) for number in range(1, count + 1)], is_exclusive=is_exclusive
    )
    octets = frame(datagram(PAYLOAD, damage=0))
    bench.receive(octets)
    frames = bench.output.receive()
    assert frames == expected(outputs, frames)
    assert bench.host.receive() == ([] if is_exclusive else [octets])
    assert bench.counts(RULES, RULE)["packets"] == 1
    for one in outputs:
        assert bench.counts(OUTPUTS, one.row) == {"packets": 1, "octets": len(PAYLOAD)}
    assert bench.counts(LINKS, LINK_ROW) == {"packets": 1, "octets": len(octets)}


def test_the_maps_tell_the_route_that_was_set(bench):
    outputs = bench.set_flow(
        GROUP,
        PORT,
        [
            output(1, ttl="decrement", dscp=46, fault=PathFault.NO_NEIGHBOR),
            output(2, taker_row=4, mtu=9000),
            *map(output, range(3, 65)),
        ],
        is_exclusive=True,
    )
    [route] = bench.maps.flows().values()
    assert (route.rule_row, route.link_row, route.outputs) == (RULE, LINK_ROW, outputs)
    assert (route.is_exclusive, route.is_leaving, route.lists_sources) == (True, False, False)


def test_an_exclusive_packet_does_not_reach_the_host_even_if_no_output_sends_it(bench):
    bench.set_flow(GROUP, PORT, [output(1, ttl="decrement")], is_exclusive=True)
    bench.receive(frame(datagram(PAYLOAD, ttl=1)))
    assert (bench.output.receive(), bench.host.receive()) == ([], [])
    assert bench.counts(OUTPUTS, 1) == {"ttl": 1}


def test_a_packet_of_no_flow_reaches_the_host_beside_an_exclusive_flow(bench):
    bench.set_flow(GROUP, PORT, [output(1)], is_exclusive=True)
    octets = frame(datagram(PAYLOAD, ports=(4000, PORT + 1)))
    bench.receive(octets)
    assert bench.host.receive() == [octets]


@pytest.mark.parametrize("outputs", [[output(1)], [output(1), output(2)]], ids=["1", "2"])
@with_super_packets
def test_a_super_packet_is_relayed_in_its_datagrams(bench, outputs):
    outputs = bench.set_flow(GROUP, PORT, outputs)
    bench.receive(frame(datagram(PAYLOAD, damage=0)), "not ready", segment=300)
    parts = [PAYLOAD[at : at + 300] for at in range(0, len(PAYLOAD), 300)]
    frames = bench.output.receive()
    sending = [(one, part) for one in outputs for part in parts]
    assert frames == [
        sent(one, part, identification=identification(got))
        for (one, part), got in zip(sending, frames, strict=True)
    ]
    for row in range(1, len(outputs) + 1):
        assert bench.counts(OUTPUTS, row) == {"packets": len(parts), "octets": len(PAYLOAD)}
    assert bench.counts(RULES, RULE)["packets"] == len(parts)
    assert len(bench.host.receive()) == len(parts)


@with_super_packets
def test_a_super_packet_with_ip_options_is_oversize(bench):
    bench.set_flow(GROUP, PORT, [output(1)])
    bench.receive(frame(datagram(PAYLOAD, options=bytes(4))), "not ready", udp=38, segment=300)
    assert bench.output.receive() == []
    assert bench.counts(RULES, RULE) == {"oversize": 1}


def test_a_datagram_longer_than_the_device_of_an_output_sends_is_a_send_error(bench):
    _, large = bench.set_flow(
        GROUP, PORT, [output(1, mtu=28 + len(PAYLOAD) - 1), output(2, mtu=28 + len(PAYLOAD))]
    )
    bench.receive(frame(datagram(PAYLOAD)))
    frames = bench.output.receive()
    assert frames == expected([large], frames)
    assert bench.counts(OUTPUTS, 1) == {"EMSGSIZE": 1, **last_error("EMSGSIZE")}


def last_error(name):
    """Return the count by which an output tells its last error, if it is not zero."""
    index = SEND_ERROR_NAMES.index(name)
    return {"last_error": index} if index else {}


@pytest.mark.parametrize("fault", PathFault)
def test_an_output_with_a_fault_counts_and_sends_nothing(bench, fault):
    _, sending = bench.set_flow(GROUP, PORT, [output(1, fault=fault), output(2)])
    bench.receive(frame(datagram(PAYLOAD)))
    frames = bench.output.receive()
    assert frames == expected([sending], frames)
    assert bench.counts(OUTPUTS, 1) == {str(fault): 1, **last_error(str(fault))}


def test_an_output_whose_device_is_gone_harms_no_other(bench):
    outputs = bench.set_flow(GROUP, PORT, [output(1, ifindex=MISSING_IFINDEX), output(2)])
    bench.receive(frame(datagram(PAYLOAD)))
    frames = bench.output.receive()
    assert frames == expected(outputs[1:], frames)
    assert bench.counts(OUTPUTS, 1) == {"ENODEV": 1, **last_error("ENODEV")}


def test_a_device_that_is_down_is_a_send_error(bench):
    bench.set_flow(GROUP, PORT, [output(1)])
    bench.network.ip("link set out down")
    try:
        bench.receive(frame(datagram(PAYLOAD)))
    finally:
        bench.network.ip("link set out up")
    assert bench.counts(OUTPUTS, 1) == {"ENOBUFS": 1, **last_error("ENOBUFS")}


def test_what_the_relay_sends_is_not_taken_again(bench):
    bench.set_flow(GROUP, PORT, [output(1)])
    bench.receive(
        frame(datagram(PAYLOAD, addresses=(b"\x0a\x09\x02\x01", b"\xef\x01\x01\x01"), ports=(OWN[1], PORT)))
    )
    assert bench.output.receive() == []
    assert bench.counts(RULES, RULE) == {"own": 1}


def test_a_source_with_the_hash_of_an_own_address_is_relayed(bench):
    numbers = (f"10.{number >> 8}.{number & 0xFF}.7" for number in range(1 << 16))
    source = next(address for address in numbers if address_hash(address) == address_hash(OWN[0]))
    bench.set_flow(GROUP, PORT, [output(1)])
    addresses = address_to_bytes(source), address_to_bytes(GROUP)
    bench.receive(frame(datagram(PAYLOAD, addresses=addresses, ports=(OWN[1], PORT))))
    assert len(bench.output.receive()) == 1


@pytest.mark.parametrize("checksum", ["open", "valid"])
def test_a_checksum_that_equals_the_sum_of_the_pseudo_header_is_a_whole_one(bench, checksum):
    payload, packet = payload_with_checksum_of_pseudo_header()
    outputs = bench.set_flow(GROUP, PORT, [output(1)])
    bench.receive(frame(packet), checksum)
    frames = bench.output.receive()
    assert frames == expected(outputs, frames, payload)
    assert bench.host.receive() == [frame(packet)]


def payload_with_checksum_of_pseudo_header():
    """Return a payload whose UDP checksum a device might still have to compute, and its packet."""
    packet = datagram(b"ab", damage=0)
    pseudo = int.from_bytes(packet[12:20], "big") % 0xFFFF + 17 + len(packet) - 20
    header = sum(struct.unpack("!3H", packet[20:26]))
    payload = ((-2 * pseudo - header) % 0xFFFF).to_bytes(2, "big")
    packet = datagram(payload, damage=0)
    assert int.from_bytes(packet[26:28], "big") == pseudo % 0xFFFF
    return payload, packet


def test_what_is_sent_to_the_input_of_another_rule_is_counted_there(bench):
    bench.set_flow(GROUP, PORT, [output(1, taker_row=2), output(2)])
    bench.maps.ensure_cells(RULES, 2)
    bench.receive(frame(datagram(PAYLOAD)))
    assert len(bench.output.receive()) == 2
    assert bench.counts(RULES, 2) == {"own": 1}


def test_every_datagram_has_another_identification(bench):
    bench.set_flow(GROUP, PORT, [output(1)])
    for _ in range(100):
        bench.receive(frame(datagram(PAYLOAD)))
    assert len({identification(got) for got in bench.output.receive()}) == 100


def test_a_packet_to_the_group_of_a_rule_on_another_link_is_a_near_miss(bench):
    bench.set_flow("239.9.9.9", PORT, [output(1)])
    bench.maps.set_address(AddressKey(0, GROUP, PORT), RULE)
    bench.receive(frame(datagram(PAYLOAD)))
    assert bench.counts(RULES, RULE) == {
        "other_device_packets": 1,
        "other_device_detail": bench.input.ifindex,
    }
    assert bench.counts(LINKS, LINK_ROW)["no_rule"] == 1


def test_packets_to_hosts_are_counted_only_if_a_rule_wants_the_address(bench):
    unicast = frame(datagram(PAYLOAD, addresses=(b"\xc0\xa8\xa8\x37", b"\x0a\x01\x00\x01")))
    bench.receive(unicast)
    assert bench.counts(LINKS, LINK_ROW) == {}
    bench.maps.set_address(AddressKey(0, "10.1.0.1", 0), None)
    bench.receive(unicast)
    assert bench.counts(LINKS, LINK_ROW) == {"packets": 1, "octets": len(unicast), "no_rule": 1}


def test_a_changed_route_and_a_deleted_flow_take_effect_with_the_next_packet(bench):
    octets = frame(datagram(PAYLOAD))
    for count in (1, 64, 3, 64, 2):
        outputs = bench.set_flow(GROUP, PORT, [output(number) for number in range(1, count + 1)])
        bench.receive(octets)
        frames = bench.output.receive()
        assert frames == expected(outputs, frames)
    [flow] = bench.maps.flows()
    bench.maps.delete_flow(flow)
    bench.receive(octets)
    assert bench.output.receive() == []
    assert bench.counts(LINKS, LINK_ROW)["no_rule"] == 1


def test_slots_and_chunks_are_used_again_after_they_are_reclaimed(bench):
    def change():
        bench.set_flow(GROUP, PORT, [output(number) for number in range(1, 65)])
        bench.maps.reclaim()
        return bench.maps.room()

    change()
    assert len({change() for _ in range(20)}) == 1


def test_maps_that_are_opened_again_tell_the_same_and_reuse_nothing_in_use(bench):
    flows = [
        bench.set_flow(f"239.1.1.{n}", PORT, [output(number) for number in range(1, n)]) for n in (2, 9, 70)
    ]
    again = type(bench.maps)(dict(bench.maps.descriptors), bench.cpus)
    assert again.flows() == bench.maps.flows()
    assert again.writes == 0
    assert [route.outputs for route in again.flows().values()]
    assert {len(outputs) for outputs in flows} == {len(route.outputs) for route in again.flows().values()}
    assert (again.own(), again.addresses(), again.links()) == (
        bench.maps.own(),
        bench.maps.addresses(),
        bench.maps.links(),
    )


@pytest.mark.parametrize("size", [0, 1, 3, 509, 511, 512, 513, 1472, 8972, 65_507])
@pytest.mark.parametrize("damage", [None, 0], ids=["none", "whole"])
def test_the_checksum_of_a_datagram_of_any_length_is_right(bench, size, damage):
    payload = bytes(range(251)) * (size // 251 + 1)
    outputs = bench.set_flow(GROUP, PORT, [output(1, mtu=65_535)])
    bench.receive(frame(datagram(payload[:size], damage=damage)))
    frames = bench.output.receive()
    assert frames == expected(outputs, frames, payload[:size])


def test_a_wrong_checksum_of_a_long_datagram_is_found(bench):
    bench.set_flow(GROUP, PORT, [output(1, mtu=65_535)])
    bench.receive(frame(datagram(bytes(65_507), damage=0x0100)))
    assert bench.counts(RULES, RULE) == {"malformed": 1}
