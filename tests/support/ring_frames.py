"""Frames of a packet ring as the kernel writes them, and strategies for frames with any content."""

import struct
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from mcrelay.packet.frame import (
    GSO_TYPE,
    NETWORK_OFFSET,
    SMALLEST_FRAME,
    TP_STATUS_CSUM_VALID,
    TP_STATUS_CSUMNOTREADY,
    TP_STATUS_USER,
    TP_STATUS_VLAN_VALID,
    VNET_HEADER,
)
from tests.support.packets import datagram, vlan_tag

TPACKET2_HEADER = struct.Struct("=IIIHHIIHH4x")  # struct tpacket2_hdr of linux/if_packet.h
SOCKADDR_LL = struct.Struct("=H2sIHBB8x")  # struct sockaddr_ll of linux/if_packet.h
AF_PACKET, ARPHRD_ETHER, PACKET_MULTICAST = 17, 1, 2
ETH_P_IP, ETH_P_8021Q, ETH_P_8021AD = 0x0800, 0x8100, 0x88A8  # linux/if_ether.h
CHECKSUM_STATUS = {"open": 0, "valid": TP_STATUS_CSUM_VALID, "not ready": TP_STATUS_CSUMNOTREADY}
VIRTIO_NET_HDR_GSO_UDP = 3  # linux/virtio_net.h


@dataclass(frozen=True)
class Frame:
    """A packet from its IP header on, with the fields that the kernel writes beside it."""

    packet: bytes
    captured: int | None = None  # octets of the packet in the ring; None for all of them
    status: int = TP_STATUS_USER
    gso: int = 0
    stale: int = 0  # fills the rest of the frame, as the octets of an earlier packet do
    tag: int = 0  # the outermost VLAN tag, which the kernel moved out of the packet
    ethertype: int = ETH_P_IP  # of what follows the outermost tag
    packet_type: int = PACKET_MULTICAST

    def octets(self, link_header):
        """Return the whole frame, for a link header of so many octets."""
        captured = len(self.packet) if self.captured is None else min(self.captured, len(self.packet))
        mac = NETWORK_OFFSET - link_header
        header = TPACKET2_HEADER.pack(
            self.status,
            link_header + len(self.packet),
            link_header + captured,
            mac,
            NETWORK_OFFSET,
            0,
            0,
            self.tag,
            0x8100 if self.tag else 0,
        ) + SOCKADDR_LL.pack(
            AF_PACKET, self.ethertype.to_bytes(2, "big"), 7, ARPHRD_ETHER, self.packet_type, 6
        )
        frame = bytearray([self.stale]) * SMALLEST_FRAME
        frame[: len(header)] = header
        frame[mac - VNET_HEADER : mac] = bytes(VNET_HEADER)
        frame[mac - VNET_HEADER + GSO_TYPE] = self.gso
        frame[NETWORK_OFFSET : NETWORK_OFFSET + captured] = self.packet[:captured]
        return bytes(frame)


def frame_of_case(case):
    """Return the frame of a case of tests/packet/cases.py, after the kernel has removed its outermost tag."""
    status = TP_STATUS_USER | CHECKSUM_STATUS[case.checksum]
    (tag, ethertype), nested = (0, ETH_P_IP), b""
    if case.tags:
        status |= TP_STATUS_VLAN_VALID
        (_, tag), *others = case.tags
        types = [of_tag for of_tag, _ in others] + [ETH_P_IP]
        ethertype = types[0]
        nested = b"".join(map(vlan_tag, (control for _, control in others), types[1:]))
    return Frame(
        nested + case.packet,
        None if case.captured is None else len(nested) + case.captured,
        status,
        gso=VIRTIO_NET_HDR_GSO_UDP if case.is_super_packet else 0,
        tag=tag,
        ethertype=ethertype,
    )


def as_array(frames, link_header=14):
    """Return frames as an array of words, shape (n, words of a frame)."""
    octets = b"".join(frame.octets(link_header) for frame in frames)
    return np.frombuffer(octets, np.uint32).reshape(len(frames), -1)


octet = st.integers(0, 255)
address = st.binary(min_size=4, max_size=4)
port = st.integers(0, 65_535)


def often(usual, other):
    """Return a strategy for `usual`, and in one of seven cases something else."""
    return st.one_of(*[st.just(usual)] * 6, other)


packets = st.builds(
    datagram,
    payload=st.binary(max_size=24),
    version=often(4, st.integers(0, 15)),
    options=often(b"", st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))),
    length_words=often(None, st.integers(0, 15)),
    total=often(0, st.integers(-60, 60)),
    protocol=often(17, octet),
    fragment=often(0x4000, st.sampled_from([0, 0x2000, 1, 0x1FFF, 0x3FFF, 0x8000]) | port),
    ttl=octet,
    tos=octet,
    udp_length=often(0, st.integers(-40, 40) | port),
    bad_checksum=often(0, port),
    trailer=often(b"", st.binary(max_size=26)),
    addresses=st.tuples(address, address),
    ports=st.tuples(port, port),
    damage=st.none() | st.just(0) | port,
) | st.binary(max_size=90)
tag_control = st.sampled_from([0, 0, 0xE000, 0x1000, 100, 0xE064]) | port
nested_tags = st.lists(st.tuples(st.sampled_from([ETH_P_8021Q, ETH_P_8021AD]), tag_control), max_size=3)


def frame_with_tags(nested, last, packet, **fields):
    """Return a frame with these tags before its packet, and the Ethernet type `last` of the packet."""
    types = [ethertype for ethertype, _ in nested] + [last]
    tags = b"".join(map(vlan_tag, (control for _, control in nested), types[1:]))
    return Frame(tags + packet, ethertype=types[0], **fields)


frames = st.builds(
    frame_with_tags,
    often([], nested_tags),
    often(ETH_P_IP, port),
    packets,
    captured=often(None, st.integers(0, 80)),
    status=often(TP_STATUS_USER, st.integers(0, 2**32 - 1)),
    gso=often(0, octet),
    stale=octet,
    tag=often(0, tag_control),
)
link_headers = st.sampled_from([14, 0, 4, 16])

# Packets for the flow of tests/support/memory_worker.py, for its neighbours, and from an endpoint of the
# relay itself.
_FOREIGN, _OWN = b"\xc0\xa8\xa8\x37", b"\x0a\x09\x02\x01"
_GROUP, _OTHER_GROUP = b"\xef\x01\x01\x01", b"\xef\x01\x01\x02"
matching = st.builds(
    lambda payload, ttl, tos, source, group, port, damage: Frame(
        datagram(payload, ttl=ttl, tos=tos, addresses=(source, group), ports=(40_000, port), damage=damage)
    ),
    payload=st.binary(max_size=40),
    ttl=st.integers(0, 255),
    tos=st.integers(0, 255),
    source=st.sampled_from([_FOREIGN, _OWN]),
    group=st.sampled_from([_GROUP, _GROUP, _GROUP, _OTHER_GROUP]),
    port=st.sampled_from([5001, 5001, 5001, 5002]),
    damage=st.sampled_from([None, 0, 0, 1]),
)
